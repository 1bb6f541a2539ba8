"""What a processor says of a picture, and how it says that it cannot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
"""Pixels: rows from the top, then columns; BGR as a third axis, or none for gray."""

Attribute: TypeAlias = "str | float | bool | None | Sequence[Attribute] | Mapping[str, Attribute]"
"""What JSON can say."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing seen."""

    label: str
    """What it is, e.g. "person"."""
    box: Sequence[float] | None = None
    """x, y of the upper left corner, width, height: pixels of the frame's picture. None: the whole picture."""
    confidence: float = 0.0
    """0 to 1, or 0 if there is none."""
    text: str = ""
    """What was read in the box."""
    track_id: int = 0
    """The object's number within source and epoch, for trackers; 0: not tracked."""


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that can be said of a frame."""

    detections: Sequence[Detection] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """Data that has no box."""
    image: Image | None = None
    """Replaces the frame's picture from this stage on."""


Answer: TypeAlias = "Result | Iterable[Detection] | None"
"""What a processor's function returns: detections alone are enough, None says that nothing was seen."""


class ConfigError(Exception):
    """A setting that cannot be, or something that should have been installed: the person who starts it must act."""


class InvalidFrame(Exception):
    """This frame can never be processed: the broker does not try again, but for once with its picture if it came
    without (INVALID_ARGUMENT)."""


class Busy(Exception):
    """Too much at once: the broker tries again later or elsewhere and counts no failure (RESOURCE_EXHAUSTED)."""


def result_of(answer: Answer) -> Result:
    """The answer in its full form. Raises TypeError, which names what was expected, for anything else."""
    if isinstance(answer, Result):
        return answer
    if answer is None:
        return Result()
    if not isinstance(answer, Iterable) or isinstance(answer, str | bytes | np.ndarray):
        raise TypeError(f"a processor returns detections, a Result or None, not {type(answer).__name__}")
    detections = list(answer)
    for one in detections:
        if not isinstance(one, Detection):
            raise TypeError(f"a processor returns Detections, not {type(one).__name__}")
    return Result(detections=detections)
