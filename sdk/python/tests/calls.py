"""A real server and a real client, for the tests. Every wait is bounded."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import cv2
import grpc
import numpy as np
from grpc_health.v1 import health_pb2

from framelane.v1 import frame_pb2 as v1
from framelane.v1 import processor_pb2 as rpc
from framelane_processor import Image, ServeConfig, Server
from framelane_processor.processors import AnyProcessor

PATIENCE_S = 30.0
"""Longer than anything here takes, short enough to fail while one watches."""


class Client:
    """Calls a processor as a broker would."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.process: Callable[..., Any] = channel.unary_unary(
            "/framelane.v1.Processor/Process",
            rpc.ProcessRequest.SerializeToString,
            rpc.ProcessResponse.FromString,
        )
        self.process_batch: Callable[..., Any] = channel.unary_unary(
            "/framelane.v1.Processor/ProcessBatch",
            rpc.ProcessBatchRequest.SerializeToString,
            rpc.ProcessBatchResponse.FromString,
        )
        self.describe: Callable[..., Any] = channel.unary_unary(
            "/framelane.v1.Processor/Describe",
            rpc.DescribeRequest.SerializeToString,
            rpc.DescribeResponse.FromString,
        )
        self.health: Callable[..., Any] = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )

    async def result(self, frame: v1.Frame, attempt: int = 1) -> rpc.ProcessResponse:
        """The reply to one frame."""
        request = rpc.ProcessRequest(frame=frame, attempt=attempt)
        answer: rpc.ProcessResponse = await self.process(request, timeout=PATIENCE_S)
        return answer

    async def outcomes(self, *frames: v1.Frame) -> list[str]:
        """What came of each frame of a batch: its detections' labels, or the code of its refusal."""
        batch = rpc.ProcessBatchRequest(requests=[rpc.ProcessRequest(frame=frame, attempt=1) for frame in frames])
        reply: rpc.ProcessBatchResponse = await self.process_batch(batch, timeout=PATIENCE_S)
        for frame, one in zip(frames, reply.outcomes, strict=True):
            assert one.HasField("refusal") or one.response.id == frame.id
        return [
            str(one.refusal.code)
            if one.HasField("refusal")
            else ",".join(seen.label for seen in one.response.result.detections)
            for one in reply.outcomes
        ]

    async def refusal(self, frame: v1.Frame, attempt: int = 1) -> grpc.aio.AioRpcError:
        """The error to one frame."""
        try:
            answer = await self.result(frame, attempt)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError(f"accepted: {answer}")


@asynccontextmanager
async def serving(processor: AnyProcessor, config: ServeConfig | None = None) -> AsyncIterator[tuple[Server, Client]]:
    """A started server and a client of it."""
    server = Server(processor, replace(config or ServeConfig(threads=2), notice_s=0.0))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield server, Client(channel)
    finally:
        await server.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what another task or thread brings about."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


def raw(sequence: int = 0, source: str = "cam0") -> v1.Frame:
    """A gray picture of 4 x 2 pixels."""
    return v1.Frame(
        id=v1.FrameId(source_id=source, epoch=1, sequence=sequence),
        codec=v1.CODEC_RAW,
        pixel_format=v1.PIXEL_FORMAT_GRAY8,
        width=4,
        height=2,
        inline=bytes([sequence % 256] * 8),
    )


def encoded(image: Image, codec: v1.Codec = v1.CODEC_JPEG) -> v1.Frame:
    """The picture as a frame."""
    end = ".jpg" if codec == v1.CODEC_JPEG else ".png"
    done, content = cv2.imencode(end, image)
    assert done
    height, width = image.shape[:2]
    frame = raw()
    frame.codec, frame.width, frame.height, frame.inline = codec, width, height, content.tobytes()
    frame.pixel_format = v1.PIXEL_FORMAT_BGR24
    return frame


def red(width: int = 64, height: int = 48) -> Image:
    """A picture that is red everywhere."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:] = (0, 0, 250)
    return image
