"""A Python function as a step of an ordered video pipeline.

    from framelane_processor import Detection, Image, processor

    @processor(name="bright", version="1")
    def bright(image: Image) -> list[Detection]:
        return [Detection("bright", confidence=float(image.mean()) / 255)]

    if __name__ == "__main__":
        bright.serve()  # --listen, --metrics, --threads, ...: see --help

The broker calls it for every frame, any number at once, and puts the results back into order. See `processor`,
`batch_processor` and `frame_processor` for what a function can be.
"""

from framelane.v1.frame_pb2 import Frame

from .answers import Answer, Busy, ConfigError, Detection, Image, InvalidFrame, Result
from .command_line import add_arguments, config_from, run
from .gather import Batch
from .processors import Processor, batch_processor, frame_processor, processor
from .server import ServeConfig, Server, Tls

__all__ = [
    "Answer",
    "Batch",
    "Busy",
    "ConfigError",
    "Detection",
    "Frame",
    "Image",
    "InvalidFrame",
    "Processor",
    "Result",
    "ServeConfig",
    "Server",
    "Tls",
    "add_arguments",
    "batch_processor",
    "config_from",
    "frame_processor",
    "processor",
    "run",
]
