"""The gRPC service `framelane.v1.Processor` around a processor: checks requests, stamps answers, counts calls."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import grpc

from framelane.v1 import frame_pb2 as v1
from framelane.v1 import processor_pb2 as rpc

from .answers import Busy, Detection, InvalidFrame
from .frames import check, id_of
from .metrics import Meters
from .running import Done, Runner

NAME = "framelane.v1.Processor"
"""The service's full name."""

T = TypeVar("T")
_Context = grpc.aio.ServicerContext[Any, Any]
_log = logging.getLogger("framelane_processor")

_ENDED = "this replica stops and its grace time is over: call another one"
_OUTCOMES = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "busy",
    grpc.StatusCode.UNAVAILABLE: "unavailable",
}


class _GraceOver(Exception):
    """The grace time ended before the call did."""


class Service:
    """Answers the calls."""

    def __init__(self, runner: Runner, name: str, meters: Meters) -> None:
        self._runner = runner
        self._name = name
        self._meters = meters
        self._grace_over = asyncio.Event()

    def end_calls(self) -> None:
        """Running calls are answered with UNAVAILABLE."""
        self._grace_over.set()

    def handlers(self) -> grpc.GenericRpcHandler:
        """What the server takes."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Process": grpc.unary_unary_rpc_method_handler(
                self._process,
                request_deserializer=rpc.ProcessRequest.FromString,
                response_serializer=rpc.ProcessResponse.SerializeToString,
            ),
            "ProcessBatch": grpc.unary_unary_rpc_method_handler(
                self._process_batch,
                request_deserializer=rpc.ProcessBatchRequest.FromString,
                response_serializer=rpc.ProcessBatchResponse.SerializeToString,
            ),
            "Describe": grpc.unary_unary_rpc_method_handler(
                self._describe,
                request_deserializer=rpc.DescribeRequest.FromString,
                response_serializer=rpc.DescribeResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def _describe(self, _: rpc.DescribeRequest, __: _Context) -> rpc.DescribeResponse:
        settings = self._runner.processor.settings
        return rpc.DescribeResponse(
            name=self._name,
            version=settings.version,
            max_in_flight=self._runner.admission.places,
            needs_pixels=settings.channels is not None,
            max_batch=settings.batch.size if settings.batch else 0,
            max_batch_wait_us=int(settings.batch.max_wait_s * 1e6) if settings.batch else 0,
        )

    async def _process(self, request: rpc.ProcessRequest, context: _Context) -> rpc.ProcessResponse:
        return await self._counted(self._answer(request), context, id_of(request.frame), 1)

    async def _process_batch(self, request: rpc.ProcessBatchRequest, context: _Context) -> rpc.ProcessBatchResponse:
        """A batch counts as one call."""
        who = ", ".join(id_of(one.frame) for one in request.requests)
        return await self._counted(self._answer_all(request), context, who, len(request.requests))

    async def _counted(self, work: Coroutine[Any, Any, T], context: _Context, who: str, frames: int) -> T:
        started = time.perf_counter()
        outcome = "abandoned"
        self._meters.begin()
        try:
            try:
                answer = await self._bounded(work)
                outcome = "ok"
                return answer
            except Exception as error:
                code, details = _status_of(error)
                if code == grpc.StatusCode.INTERNAL:
                    _log.warning("%s: the processor failed", who, exc_info=error)
                outcome = _OUTCOMES.get(code, "failed")
                return cast(T, await context.abort(code, details))
        finally:
            self._meters.end(outcome, time.perf_counter() - started, frames)

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result, unless the grace time is over first."""
        working = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(self._grace_over.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise _GraceOver
        finally:
            ending.cancel()
            if not working.done():
                working.cancel()
                # Its places are free when it has ended, and its end is nobody else's to hear.
                with contextlib.suppress(asyncio.CancelledError):
                    await working

    async def _answer(self, request: rpc.ProcessRequest) -> rpc.ProcessResponse:
        _check(request)
        return self._response(request, await self._runner.run(request.frame, max(request.attempt, 1)))

    async def _answer_all(self, batch: rpc.ProcessBatchRequest) -> rpc.ProcessBatchResponse:
        """Each frame has its own outcome, but for what a batch function raises: that is everybody's."""
        refused: dict[int, BaseException] = {}
        for at, request in enumerate(batch.requests):
            try:
                _check(request)
            except InvalidFrame as error:
                refused[at] = error
        whole = [request.frame for at, request in enumerate(batch.requests) if at not in refused]
        done = iter(await self._runner.run_batch(whole))
        reply = rpc.ProcessBatchResponse()
        for at, request in enumerate(batch.requests):
            outcome = refused.get(at) or next(done)
            if isinstance(outcome, Done):
                reply.outcomes.add(response=self._response(request, outcome))
            elif isinstance(outcome, Exception):
                code, details = _status_of(outcome)
                reply.outcomes.add(refusal=rpc.Refusal(code=code.value[0], message=details))
            else:
                raise outcome
        return reply

    def _response(self, request: rpc.ProcessRequest, done: Done) -> rpc.ProcessResponse:
        result = self._result(done, max(request.attempt, 1))
        return rpc.ProcessResponse(id=request.frame.id, result=result, picture=done.picture)

    def _result(self, done: Done, attempt: int) -> v1.Result:
        result = v1.Result(
            processor=self._name,
            version=self._runner.processor.settings.version,
            status=v1.STATUS_OK,
            attempts=attempt,
            detections=[_detection(one) for one in done.result.detections],
            timing=v1.Timing(processing_ns=int(done.took_s * 1e9)),
        )
        if done.result.attributes:
            result.attributes.update(done.result.attributes)
        return result


def _check(request: rpc.ProcessRequest) -> None:
    if not request.HasField("frame"):
        raise InvalidFrame("the request holds no frame")
    check(request.frame)


def _detection(one: Detection) -> v1.Detection:
    if not math.isfinite(one.confidence):
        raise ValueError(f"the confidence of {one.label!r} is {one.confidence}: it is 0 to 1")
    detection = v1.Detection(label=one.label, confidence=one.confidence, text=one.text, track_id=one.track_id)
    if one.box is not None:
        sides = [float(side) for side in one.box]
        if len(sides) != 4:
            raise ValueError(f"the box of {one.label!r} has {len(sides)} numbers: it is x, y, width, height")
        x, y, width, height = sides
        detection.box.CopyFrom(v1.Box(x=x, y=y, width=width, height=height))
    return detection


def _status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """What the caller is told, and by which code it acts."""
    match error:
        case InvalidFrame():
            return grpc.StatusCode.INVALID_ARGUMENT, str(error)
        case Busy():
            return grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
        case _GraceOver():
            return grpc.StatusCode.UNAVAILABLE, _ENDED
        case _:
            return grpc.StatusCode.INTERNAL, f"the processor raised {type(error).__name__}: {error}"
