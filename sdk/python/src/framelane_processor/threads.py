"""Work that keeps a core busy, on threads of its own.

    call -> a place (at most `admission` calls wait or run, else Busy) -> queue, in the order of arrival -> thread

A call that its caller gave up frees its place at once, and is skipped when its turn comes; only work that has begun
keeps its place to its end. The threads are daemons: work that hangs cannot be ended, and must not hold up a stop.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from .answers import Busy

T = TypeVar("T")


class Place:
    """A call's right to be here: given back when the last of its holders lets go."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self._holders = 1
        self._lock = threading.Lock()

    def hold(self) -> None:
        """One holder more."""
        with self._lock:
            self._holders += 1

    def let_go(self) -> None:
        """One holder less."""
        with self._lock:
            self._holders -= 1
            is_free = self._holders == 0
        if is_free:
            self._admission.give_back()


class Admission:
    """Counts the places."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._free = threading.Semaphore(places)

    def take(self) -> Place:
        """A place, with its first holder. Raises Busy if there is none."""
        if not self._free.acquire(blocking=False):
            raise Busy(f"{self.places} calls are waiting or running here already")
        return Place(self)

    def give_back(self) -> None:
        """For Place."""
        self._free.release()


class _Job:
    """Work in the queue; without it once nobody wants it, so that an abandoned frame is not kept."""

    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work: Callable[[], Any] | None = work
        self.future: Future[Any] = Future()


class Threads:
    """A fixed number of threads. Close it to end them."""

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    async def run(self, place: Place | None, work: Callable[[], T]) -> T:
        """Does the work on a thread, and holds the place meanwhile. What it raises is raised here. Without a place, for
        work of several calls that have theirs."""
        job = _Job(work)
        if place is not None:
            place.hold()

        def ended(_: Future[Any]) -> None:
            job.work = None
            if place is not None:
                place.let_go()

        # Before asyncio hears of it: who has the answer may call again at once and find the place free.
        job.future.add_done_callback(ended)
        self._jobs.put(job)
        result: T = await asyncio.wrap_future(job.future)
        return result

    def close(self) -> None:
        """Threads end after what they are doing."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, future = job.work, job.future
            del job  # an idle thread keeps no frame
            if work is None or not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # whatever it is, its caller must hear of it
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            del work, future
