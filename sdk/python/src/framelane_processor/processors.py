"""A function becomes a processor: the decorators, and how each form of function is called."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, cast

from framelane.v1 import frame_pb2 as v1

from .answers import Answer, Image, Result, result_of
from .gather import Batch
from .pictures import Channels

P = ParamSpec("P")
R = TypeVar("R", covariant=True)

Answers: TypeAlias = Sequence[Answer]


@dataclass(frozen=True)
class Settings:
    """What a decorator was given."""

    name: str
    version: str
    channels: Channels | None
    """What the function wants pictures as; None: it gets the frame's message and no pixels."""
    batch: Batch | None = None
    threads: int | None = None
    """Threads it may run on at once, at most; None: as many as there are."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a processor has a name: @processor(name=...)")
        if self.threads is not None and self.threads < 1:
            raise ValueError("a processor runs on at least 1 thread")


class Processor(Generic[P, R]):
    """A function that can be served. Called, it is the function that it was."""

    def __init__(self, function: Callable[P, R], settings: Settings) -> None:
        self.function = function
        self.settings = settings
        self.is_async = inspect.iscoroutinefunction(function)
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", settings.name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function itself: for tests."""
        return self.function(*args, **kwargs)

    def serve(self, argv: Sequence[str] | None = None) -> None:
        """Serves until SIGTERM, with the options of the command line (`--help` names them). Ends the process."""
        from .command_line import main  # only programs need it

        main(self, argv)


AnyProcessor: TypeAlias = "Processor[..., object]"


def processor(
    *, name: str, version: str = "unversioned", channels: Channels = "bgr", threads: int | None = None
) -> Callable[[Callable[Concatenate[Image, P], R]], Processor[Concatenate[Image, P], R]]:
    """A function of one picture, or of a picture and the `Frame` that it is of.

    Plain functions run on threads, several at once; one that keeps state between calls says `threads=1`. `async` ones
    run on the event loop, where what they do between two awaits delays every other call.
    """

    def decorate(function: Callable[Concatenate[Image, P], R]) -> Processor[Concatenate[Image, P], R]:
        if parameters_of(function) not in (1, 2):
            raise TypeError(f"{name}: a processor's function takes (image) or (image, frame)")
        return Processor(function, Settings(name, version, channels, threads=threads))

    return decorate


def batch_processor(
    *,
    name: str,
    size: int,
    max_wait_s: float = 0.01,
    version: str = "unversioned",
    channels: Channels = "bgr",
    threads: int | None = None,
) -> Callable[[Callable[[list[Image]], R]], Processor[[list[Image]], R]]:
    """A function of up to `size` pictures, which returns an answer for each, in their order. The first picture of a
    batch waits at most `max_wait_s` for the others. A frame whose batch failed is tried again alone."""
    batch = Batch(size, max_wait_s)
    return lambda function: Processor(function, Settings(name, version, channels, batch, threads))


def frame_processor(
    *, name: str, version: str = "unversioned"
) -> Callable[[Callable[[v1.Frame], R]], Processor[[v1.Frame], R]]:
    """A function of a frame's message: its id, its labels and the results of the stages before. It comes, as
    a rule, without its picture: the broker need neither fetch nor send it."""
    return lambda function: Processor(function, Settings(name, version, None))


def parameters_of(function: Callable[..., object]) -> int:
    """How many arguments it must or may be given."""
    return len(inspect.signature(function).parameters)


def check_answers(answers: object, count: int) -> list[Result]:
    """What a batch function returned, one for each picture. Raises TypeError or ValueError otherwise."""
    if not isinstance(answers, Sequence):
        raise TypeError(f"a batch processor returns a list of answers, not {type(answers).__name__}")
    if len(answers) != count:
        raise ValueError(f"a batch processor returned {len(answers)} answers for {count} pictures")
    return [result_of(answer) for answer in answers]


def check_answer(answer: object) -> Result:
    """What a function returned. Raises TypeError otherwise."""
    return result_of(cast(Answer, answer))


async def awaited(answer: object) -> object:
    """The answer of an `async` function."""
    return await cast("Awaitable[object]", answer)
