"""What an encoded picture says of itself before anything is decoded: its size, and whether it is whole.

Decoders paint the missing half of a cut-off JPEG grey and say nothing, allocate what the header asks for, and work for
as long as they are given scans.
"""

from .answers import InvalidFrame

MAX_SCANS = 64
"""Encoders make about 10 scans of a progressive JPEG. Each one more costs the decoder a pass over all pixels."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WITHOUT_BODY = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_END_OF_IMAGE = 0xD9
_START_OF_SCAN = 0xDA
# Start of frame, of every kind of compression; C4, C8 and CC mean something else.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Width and height of a JPEG, in pixels. Raises InvalidFrame if it is none, cut off, or a trap."""
    if not jpeg.startswith(b"\xff\xd8"):
        raise InvalidFrame("the content is no jpeg picture")
    at, scans, size = 2, 0, None
    while True:
        at, marker = _next_marker(jpeg, at)
        if marker == _END_OF_IMAGE:
            break
        if marker in _WITHOUT_BODY:
            continue
        if marker == _START_OF_SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise InvalidFrame(f"a progressive JPEG of more than {MAX_SCANS} scans, made to keep a decoder busy")
        elif marker in _START_OF_FRAME and size is None:
            body = jpeg[at + 3 : at + 7]
            size = (int.from_bytes(body[2:4]), int.from_bytes(body[:2]))
        # The body's length counts its own two bytes. A scan's data follows and holds no marker but restarts.
        at += max(int.from_bytes(jpeg[at : at + 2]), 2)
    if size is None:
        raise InvalidFrame("the JPEG does not say its size")
    return size


def _next_marker(jpeg: bytes, at: int) -> tuple[int, int]:
    """The place behind the next marker, and the marker. `FF 00` is a data byte, `FF FF` is padding."""
    while True:
        at = jpeg.find(b"\xff", at) + 1
        if at == 0 or at >= len(jpeg):
            raise InvalidFrame("the picture is cut off: the JPEG has no end marker")
        marker = jpeg[at]
        if marker == 0xFF:
            continue
        at += 1
        if marker != 0x00:
            return at, marker


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG, in pixels. Raises InvalidFrame if it is none or cut off."""
    if not png.startswith(_PNG_SIGNATURE) or png[12:16] != b"IHDR":
        raise InvalidFrame("the content is no png picture")
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4])
        kind, end = png[at + 4 : at + 8], at + 12 + length
        if end > len(png):
            break
        if kind == b"IEND":
            return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
        at = end
    raise InvalidFrame("the picture is cut off: the PNG has no end chunk")
