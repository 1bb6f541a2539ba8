"""From a frame's content to pixels and back, with everything checked before the decoder allocates.

content -> size by its header -> within the limit? -> as declared? -> whole? -> decoder
"""

from types import ModuleType
from typing import Literal, TypeAlias, cast

import numpy as np

from framelane.v1 import frame_pb2 as v1
from framelane.v1 import processor_pb2 as rpc

from .answers import ConfigError, Image, InvalidFrame
from .frames import BYTES_PER_PIXEL
from .whole import jpeg_size, png_size

Channels: TypeAlias = Literal["bgr", "gray"]

JPEG_QUALITY = 90
"""Of pictures that a processor returns: another encoding is hard to see."""


def opencv() -> ModuleType:
    """OpenCV, made to use the calling thread only: calls run side by side already. Raises ConfigError without it."""
    try:
        import cv2
    except ImportError as cause:
        raise ConfigError(
            f"pictures need OpenCV, which cannot be loaded ({cause}): pip install 'framelane-processor[images]'"
        ) from cause
    cv2.setNumThreads(1)
    return cv2


def decode(frame: v1.Frame, channels: Channels, max_pixels: int) -> Image:
    """The frame's pixels; orientation tags are ignored. Raises InvalidFrame: no later attempt can change it."""
    kind = frame.WhichOneof("content")
    if kind != "inline":
        raise InvalidFrame(f"the frame carries no picture (its content is {kind})")
    content = frame.inline  # once: each look at the field makes a copy
    declared = (frame.width, frame.height)
    if frame.codec == v1.CODEC_RAW:
        _check_size(declared, declared, max_pixels)
        return _raw(frame, content, channels)
    if frame.codec == v1.CODEC_JPEG:
        found = jpeg_size(content)
    elif frame.codec == v1.CODEC_PNG:
        found = png_size(content)
    else:
        raise InvalidFrame(f"pictures of codec {frame.codec} are not decoded here")
    _check_size(found, declared, max_pixels)
    cv2 = opencv()
    flags = cv2.IMREAD_GRAYSCALE if channels == "gray" else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as cause:
        raise InvalidFrame(f"the decoder refused the picture: {cause}") from cause
    if image is None:
        raise InvalidFrame("the decoder found no picture")
    return cast(Image, image)


def _check_size(found: tuple[int, int], declared: tuple[int, int], max_pixels: int) -> None:
    width, height = found
    if width * height > max_pixels:
        raise InvalidFrame(
            f"a picture of {width}x{height} pixels exceeds the limit of {max_pixels} pixels (--max-megapixels)"
        )
    if found != declared:
        raise InvalidFrame(f"the picture is {width}x{height} pixels where the frame says {declared[0]}x{declared[1]}")


def _raw(frame: v1.Frame, content: bytes, channels: Channels) -> Image:
    per_pixel = BYTES_PER_PIXEL[frame.pixel_format]
    shape = (frame.height, frame.width) if per_pixel == 1 else (frame.height, frame.width, per_pixel)
    # Copied, because functions may draw into what they get, and a message's bytes are read-only.
    pixels = np.frombuffer(content, np.uint8).reshape(shape).copy()
    cv2 = opencv()
    conversion = {
        (v1.PIXEL_FORMAT_BGR24, "gray"): cv2.COLOR_BGR2GRAY,
        (v1.PIXEL_FORMAT_RGB24, "gray"): cv2.COLOR_RGB2GRAY,
        (v1.PIXEL_FORMAT_RGB24, "bgr"): cv2.COLOR_RGB2BGR,
        (v1.PIXEL_FORMAT_GRAY8, "bgr"): cv2.COLOR_GRAY2BGR,
    }.get((frame.pixel_format, channels))
    return pixels if conversion is None else cast(Image, cv2.cvtColor(pixels, conversion))


def encode(image: Image) -> rpc.Picture:
    """A JPEG of the pixels. Raises TypeError or ValueError, which say what a picture has to be."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise TypeError("the new image must be a numpy array of uint8")
    gray = image.ndim == 2
    if image.size == 0 or not (gray or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"the new image has the shape {image.shape}, not height x width (x 3 for BGR)")
    cv2 = opencv()
    done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError("OpenCV cannot make a JPEG of the new image")
    return rpc.Picture(
        codec=v1.CODEC_JPEG,
        pixel_format=v1.PIXEL_FORMAT_GRAY8 if gray else v1.PIXEL_FORMAT_BGR24,
        width=image.shape[1],
        height=image.shape[0],
        content=jpeg.tobytes(),
    )
