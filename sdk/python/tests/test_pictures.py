"""From content to pixels: what is refused before the decoder sees it."""

import numpy as np
import pytest
from calls import encoded, raw, red

from framelane.v1 import frame_pb2 as v1
from framelane_processor import InvalidFrame
from framelane_processor.pictures import decode, encode

LIMIT = 50_000_000


@pytest.mark.parametrize("codec", [v1.CODEC_JPEG, v1.CODEC_PNG])
def test_encoded_pictures_become_pixels(codec: v1.Codec) -> None:
    frame = encoded(red(64, 48), codec)
    image = decode(frame, "bgr", LIMIT)
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - (0, 0, 250)).max() < 8
    assert decode(frame, "gray", LIMIT).shape == (48, 64)


def test_raw_pictures_become_pixels_that_can_be_drawn_into() -> None:
    frame = raw(5)
    image = decode(frame, "gray", LIMIT)
    assert image.tolist() == [[5] * 4] * 2
    image[0, 0] = 9
    assert decode(frame, "bgr", LIMIT).tolist() == [[[5, 5, 5]] * 4] * 2
    frame.pixel_format, frame.width, frame.height, frame.inline = v1.PIXEL_FORMAT_RGB24, 1, 1, b"\x01\x02\x03"
    assert decode(frame, "bgr", LIMIT).tolist() == [[[3, 2, 1]]]


def cut(frame: v1.Frame, keep: float) -> v1.Frame:
    """The first part of its content."""
    frame.inline = frame.inline[: int(len(frame.inline) * keep)]
    return frame


def other_size(frame: v1.Frame) -> v1.Frame:
    """Says what is not so."""
    frame.width += 1
    return frame


def other_codec(frame: v1.Frame) -> v1.Frame:
    """Says what is not so."""
    frame.codec = v1.CODEC_PNG if frame.codec == v1.CODEC_JPEG else v1.CODEC_JPEG
    return frame


def of_codec(codec: v1.Codec) -> v1.Frame:
    frame = encoded(red())
    frame.codec = codec
    return frame


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (cut(encoded(red()), 0.7), "cut off"),
        (cut(encoded(red(), v1.CODEC_PNG), 0.9), "cut off"),
        (cut(encoded(red()), 0.002), "no jpeg"),
        (other_size(encoded(red())), "where the frame says 65x48"),
        (other_codec(encoded(red())), "no png picture"),
        (other_codec(encoded(red(), v1.CODEC_PNG)), "no jpeg picture"),
        (encoded(red(120, 100)), "exceeds the limit"),
        (of_codec(v1.CODEC_H264), "not decoded here"),
    ],
)
def test_what_cannot_be_decoded_says_why(frame: v1.Frame, words: str) -> None:
    with pytest.raises(InvalidFrame, match=words):
        decode(frame, "bgr", max_pixels=10_000)


def test_a_bomb_is_refused_by_its_header() -> None:
    frame = encoded(red(), v1.CODEC_PNG)
    png = bytearray(frame.inline)
    png[16:24] = (60_000).to_bytes(4) * 2
    frame.inline, frame.width, frame.height = bytes(png), 60_000, 60_000
    with pytest.raises(InvalidFrame, match="60000x60000 pixels exceeds"):
        decode(frame, "bgr", LIMIT)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    frame = encoded(red())
    jpeg = frame.inline
    scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    frame.inline = jpeg[:-2] + scan * 100 + jpeg[-2:]
    with pytest.raises(InvalidFrame, match="scans"):
        decode(frame, "bgr", LIMIT)


def test_no_bytes_at_all_make_the_walk_fail_otherwise() -> None:
    """Every cut and every changed byte is a picture or InvalidFrame, nothing else."""
    for codec in (v1.CODEC_JPEG, v1.CODEC_PNG):
        whole = encoded(red(16, 16), codec)
        content = whole.inline
        for at in range(len(content)):
            for changed in (content[:at], content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]):
                whole.inline = changed
                try:
                    decode(whole, "bgr", LIMIT)
                except InvalidFrame:
                    continue


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)]
)
def test_a_new_image_that_is_none_is_refused(image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> None:
    with pytest.raises((TypeError, ValueError), match="new image"):
        encode(image)
