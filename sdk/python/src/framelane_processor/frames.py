"""What `frame.proto` promises of a frame in a request, checked before anyone relies on it."""

import re

from framelane.v1 import frame_pb2 as v1

from .answers import InvalidFrame

_SOURCE_ID = re.compile(r"[A-Za-z0-9._-]{1,249}")
BYTES_PER_PIXEL = {v1.PIXEL_FORMAT_BGR24: 3, v1.PIXEL_FORMAT_RGB24: 3, v1.PIXEL_FORMAT_GRAY8: 1}


def id_of(frame: v1.Frame) -> str:
    """`cam0/1/42`: source, epoch, sequence."""
    return f"{frame.id.source_id}/{frame.id.epoch}/{frame.id.sequence}"


def check(frame: v1.Frame) -> None:
    """Raises InvalidFrame, which says what is wrong with it."""
    if not frame.HasField("id"):
        raise InvalidFrame("the frame has no id")
    if not _SOURCE_ID.fullmatch(frame.id.source_id):
        raise InvalidFrame(f"source id {frame.id.source_id[:64]!r} is not 1 to 249 bytes of [A-Za-z0-9._-]")
    if frame.id.epoch == 0:
        raise InvalidFrame(f"{id_of(frame)}: epochs start at 1")
    if frame.HasField("time_base") and 0 in (frame.time_base.num, frame.time_base.den):
        raise InvalidFrame(f"{id_of(frame)}: the time base is not positive")
    content = frame.WhichOneof("content")
    if content is None:
        raise InvalidFrame(f"{id_of(frame)}: no content: neither inline nor missing")
    if content == "reference":
        raise InvalidFrame(
            f"{id_of(frame)}: the picture is a reference to {frame.reference.topic}: the caller must put the picture"
            " into the request"
        )
    if content == "inline":
        _check_inline(frame)


def _check_inline(frame: v1.Frame) -> None:
    if frame.codec == v1.CODEC_UNSPECIFIED:
        raise InvalidFrame(f"{id_of(frame)}: inline content of no codec")
    if 0 in (frame.width, frame.height):
        raise InvalidFrame(f"{id_of(frame)}: a picture of {frame.width}x{frame.height} pixels")
    if not frame.inline:
        raise InvalidFrame(f"{id_of(frame)}: inline content of 0 bytes")
    if frame.codec != v1.CODEC_RAW:
        return
    per_pixel = BYTES_PER_PIXEL.get(frame.pixel_format)
    if per_pixel is None:
        raise InvalidFrame(f"{id_of(frame)}: RAW content of no pixel format")
    expected = frame.width * frame.height * per_pixel
    if expected != len(frame.inline):
        raise InvalidFrame(
            f"{id_of(frame)}: RAW content of {len(frame.inline)} bytes where width, height and pixel format make"
            f" {expected}"
        )
