"""Reads the text in pictures, in Latin and Chinese letters, with the models that rapidocr-onnxruntime brings along.

pip install ./sdk/python rapidocr-onnxruntime
python read_text.py --listen 127.0.0.1:50051
broker --input signs --output signs.text --processor http://127.0.0.1:50051
consumer --topic signs.text --sink window --overlay
"""

import threading
from typing import Any

from rapidocr_onnxruntime import RapidOCR

from framelane_processor import Detection, Image, processor


class Readers(threading.local):
    """A reader for each thread: a reader keeps state while it reads. Its networks use that thread alone, because calls
    run side by side already."""

    def __init__(self) -> None:
        self.own = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


readers = Readers()


@processor(name="text", version="rapidocr-onnxruntime 1.4.4")
def read_text(image: Image) -> list[Detection]:
    """Reads the text in pictures: a detection for each line, with what stands there."""
    lines, _ = readers.own(image)
    return [Detection("text", upright(corners), float(sure), text) for corners, text, sure in lines or []]


def upright(corners: Any) -> tuple[float, float, float, float]:
    """The box around the four corners of a line of text, which may be tilted."""
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


if __name__ == "__main__":
    read_text.serve()
