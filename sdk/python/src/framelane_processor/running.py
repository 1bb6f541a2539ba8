"""From a checked frame to its result: which part of the work runs where.

plain:  thread [decode, function, encode]
async:  thread [decode], event loop [function], thread [encode, if there is a new image]
batch:  thread [decode], gathered, thread or event loop [function], thread [encode, if there is a new image]
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from framelane.v1 import frame_pb2 as v1
from framelane.v1 import processor_pb2 as rpc

from .answers import Image, Result
from .gather import Gather
from .pictures import decode, encode
from .processors import AnyProcessor, awaited, check_answer, check_answers, parameters_of
from .threads import Admission, Place, Threads


@dataclass(frozen=True, slots=True)
class Done:
    """A result, ready to be sent."""

    result: Result
    """Without its image."""
    picture: rpc.Picture | None
    took_s: float
    """The work itself: without waiting for a first thread, or for the others of a batch."""


class Runner:
    """Runs one processor."""

    def __init__(self, processor: AnyProcessor, threads: int, admission: int, max_pixels: int) -> None:
        self.processor = processor
        self.admission = Admission(admission)
        self._threads = Threads(threads, processor.settings.name)
        self._max_pixels = max_pixels
        self._takes_frame = processor.settings.channels is not None and parameters_of(processor.function) == 2
        batch = processor.settings.batch
        self._gather = Gather(batch, self._batch) if batch else None

    def close(self) -> None:
        """Ends the threads after what they are doing."""
        self._threads.close()

    async def run(self, frame: v1.Frame, attempt: int) -> Done:
        """Looks at one frame. Raises Busy without doing anything if there is no place."""
        place = self.admission.take()
        try:
            if self._gather is not None:
                return await self._gathered(place, frame, attempt)
            return await self._single(place, frame)
        finally:
            place.let_go()

    async def run_batch(self, frames: Sequence[v1.Frame]) -> list[Done | BaseException]:
        """Looks at frames that came together: what came of each, in their order. Raises what a batch function raised,
        and Busy without doing anything if there is no place: one for all of them."""
        place = self.admission.take()
        try:
            batch = self.processor.settings.batch
            if batch is None:
                return await asyncio.gather(*(self._single(place, one) for one in frames), return_exceptions=True)
            started = time.perf_counter()
            inputs = await asyncio.gather(*(self._decoded(place, one) for one in frames), return_exceptions=True)
            # What cannot be decoded is left out; the others are a batch without it.
            images = [one for one in inputs if not isinstance(one, BaseException)]
            results: list[tuple[Result, float]] = []
            for first in range(0, len(images), batch.size):
                results += await self._batch(images[first : first + batch.size])
            left = iter(results)
            outcomes: list[Done | BaseException] = []
            for one in inputs:
                if isinstance(one, BaseException):
                    outcomes.append(one)
                else:
                    result, took_s = next(left)
                    outcomes.append(replace(await self._encoded(place, result, started), took_s=took_s))
            return outcomes
        finally:
            place.let_go()

    async def _single(self, place: Place, frame: v1.Frame) -> Done:
        if self.processor.is_async:
            return await self._awaited(place, frame)
        return await self._threads.run(place, lambda: self._plain(frame))

    async def _decoded(self, place: Place, frame: v1.Frame) -> Image:
        channels = self.processor.settings.channels or "bgr"
        return await self._threads.run(place, lambda: decode(frame, channels, self._max_pixels))

    def _inputs(self, frame: v1.Frame) -> tuple[object, ...]:
        channels = self.processor.settings.channels
        if channels is None:
            return (frame,)
        image = decode(frame, channels, self._max_pixels)
        return (image, frame) if self._takes_frame else (image,)

    def _plain(self, frame: v1.Frame) -> Done:
        started = time.perf_counter()
        result = check_answer(self.processor.function(*self._inputs(frame)))
        return _done(result, started)

    async def _awaited(self, place: Place, frame: v1.Frame) -> Done:
        started = time.perf_counter()
        inputs = await self._threads.run(place, lambda: self._inputs(frame))
        result = check_answer(await awaited(self.processor.function(*inputs)))
        return await self._encoded(place, result, started)

    async def _gathered(self, place: Place, frame: v1.Frame, attempt: int) -> Done:
        assert self._gather is not None
        started = time.perf_counter()
        image = await self._decoded(place, frame)
        if attempt > 1:
            # Its batch may have failed because of it: alone it spoils no other.
            (result, took_s) = (await self._batch([image]))[0]
        else:
            result, took_s = await self._gather.join(image)
        done = await self._encoded(place, result, started)
        return replace(done, took_s=took_s)

    async def _batch(self, given: Sequence[Image]) -> list[tuple[Result, float]]:
        images = list(given)
        started = time.perf_counter()
        if self.processor.is_async:
            answers = await awaited(self.processor.function(images))
        else:
            answers = await self._threads.run(None, lambda: self.processor.function(images))
        took_s = time.perf_counter() - started
        return [(result, took_s) for result in check_answers(answers, len(images))]

    async def _encoded(self, place: Place, result: Result, started: float) -> Done:
        if result.image is None:
            return _done(result, started)
        return await self._threads.run(place, lambda: _done(result, started))


def _done(result: Result, started: float) -> Done:
    picture = None if result.image is None else encode(result.image)
    return Done(replace(result, image=None), picture, time.perf_counter() - started)
