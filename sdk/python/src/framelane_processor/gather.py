"""Single calls gathered into batches: as many as fit, or those that came within the longest wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class Batch:
    """How many frames a function wants at once, and how long the first of them may wait for the others."""

    size: int
    max_wait_s: float

    def __post_init__(self) -> None:
        if self.size < 1 or self.max_wait_s < 0:
            raise ValueError("a batch has at least 1 frame, and its wait is not negative")


class Gather(Generic[Item, Out]):
    """Groups the items given to `join`. For one event loop."""

    def __init__(self, batch: Batch, work: Callable[[Sequence[Item]], Awaitable[Sequence[Out]]]) -> None:
        self._batch = batch
        self._work = work
        self._waiting: list[tuple[Item, asyncio.Future[Out]]] = []
        self._timer: asyncio.TimerHandle | None = None
        # Kept, because the loop itself does not keep tasks alive.
        self._running: set[asyncio.Task[None]] = set()

    async def join(self, item: Item) -> Out:
        """What the work says of this item. If a batch fails, all of its items do."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Out] = loop.create_future()
        member = (item, future)
        self._waiting.append(member)
        if len(self._waiting) >= self._batch.size:
            self._begin()
        elif self._timer is None:
            self._timer = loop.call_later(self._batch.max_wait_s, self._begin)
        try:
            return await future
        finally:
            # Whoever gives up makes room for another.
            self._waiting = [other for other in self._waiting if other is not member]

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        if batch:
            task = asyncio.ensure_future(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, batch: Sequence[tuple[Item, "asyncio.Future[Out]"]]) -> None:
        try:
            answers = await self._work([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
