"""The gRPC service `framelane.v1.Processor` around a processor: checks requests, stamps answers, counts calls."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

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
        )

    async def _process(self, request: rpc.ProcessRequest, context: _Context) -> rpc.ProcessResponse:
        started = time.perf_counter()
        outcome = "abandoned"
        self._meters.begin()
        try:
            try:
                answer = await self._bounded(self._answer(request))
                outcome = "ok"
                return answer
            except Exception as error:
                code, details = _status_of(error)
                if code == grpc.StatusCode.INTERNAL:
                    _log.warning("%s: the processor failed", id_of(request.frame), exc_info=error)
                outcome = _OUTCOMES.get(code, "failed")
                return await context.abort(code, details)
        finally:
            self._meters.end(outcome, time.perf_counter() - started)

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
        if not request.HasField("frame"):
            raise InvalidFrame("the request holds no frame")
        check(request.frame)
        attempt = max(request.attempt, 1)
        done = await self._runner.run(request.frame, attempt)
        return rpc.ProcessResponse(id=request.frame.id, result=self._result(done, attempt), picture=done.picture)

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


def _detection(one: Detection) -> v1.Detection:
    detection = v1.Detection(label=one.label, confidence=one.confidence, text=one.text, track_id=one.track_id)
    if one.box is not None:
        x, y, width, height = (float(side) for side in one.box)
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
