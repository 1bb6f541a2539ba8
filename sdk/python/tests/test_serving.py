"""What a caller sees: answers, refusals, admission, deadlines, drain and health."""

import asyncio
import threading
import urllib.request
from dataclasses import replace

import grpc
import pytest
from calls import PATIENCE_S, Client, encoded, raw, red, serving, until
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2

from framelane.v1 import frame_pb2 as v1
from framelane.v1 import processor_pb2 as rpc
from framelane_processor import (
    Busy,
    Detection,
    Frame,
    Image,
    InvalidFrame,
    Result,
    ServeConfig,
    Server,
    frame_processor,
    processor,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@processor(name="moods", version="3")
def moods(image: Image, frame: Frame) -> Result | list[Detection] | None:
    """Sequence 13 raises, 14 is invalid, 15 is too much, 16, 18 and 19 return nonsense, 17 nothing."""
    match frame.id.sequence:
        case 13:
            raise RuntimeError("bad luck")
        case 14:
            raise InvalidFrame("upside down")
        case 15:
            raise Busy("later")
        case 16:
            return [image]  # type: ignore[list-item]
        case 17:
            return None
        case 18:
            return [Detection("thing", (1, 2, 3))]
        case 19:
            return [Detection("thing", confidence=float("nan"))]
    seen = Detection("thing", (1, 2, 3.5, 4), confidence=0.5, text="Ada", track_id=7)
    return Result([seen], attributes={"mood": "good", "level": 0.5, "tags": ["a", True]})


class Gate:
    """Holds calls until it is opened; counts those that have begun."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.begun = 0

    def wait(self) -> None:
        self.begun += 1
        assert self.opened.wait(PATIENCE_S)


def gated(gate: Gate) -> "processor":  # type: ignore[valid-type]
    @processor(name="gate")
    def wait(_: Image) -> None:
        gate.wait()

    return wait


async def test_an_answer_carries_the_id_and_who_gave_it() -> None:
    async with serving(moods) as (server, client):
        answer = await client.result(raw(7), attempt=2)
    assert (answer.id.source_id, answer.id.epoch, answer.id.sequence) == ("cam0", 1, 7)
    result = answer.result
    assert (result.processor, result.version, result.status, result.attempts) == ("moods", "3", v1.STATUS_OK, 2)
    box = v1.Box(x=1, y=2, width=3.5, height=4)
    assert list(result.detections) == [v1.Detection(label="thing", confidence=0.5, text="Ada", track_id=7, box=box)]
    assert MessageToDict(result.attributes) == {"mood": "good", "level": 0.5, "tags": ["a", True]}
    assert result.timing.processing_ns > 0
    assert not answer.HasField("picture")
    assert (server.meters.ok, server.meters.not_ok, server.meters.in_flight) == (1, 0, 0)


async def test_the_function_stays_what_it_was() -> None:
    assert moods(red(), raw(17)) is None
    assert moods.__doc__ is not None


async def test_a_name_given_by_the_operator_replaces_the_processors() -> None:
    async with serving(moods, ServeConfig(name="door", threads=3)) as (_, client):
        described = await client.describe(rpc.DescribeRequest())
        answer = await client.result(raw())
    assert (described.name, described.version, described.max_in_flight) == ("door", "3", 12)
    assert described.needs_pixels
    assert answer.result.processor == "door"


@pytest.mark.parametrize(
    ("sequence", "code", "words"),
    [
        (13, grpc.StatusCode.INTERNAL, "RuntimeError: bad luck"),
        (14, grpc.StatusCode.INVALID_ARGUMENT, "upside down"),
        (15, grpc.StatusCode.RESOURCE_EXHAUSTED, "later"),
        (16, grpc.StatusCode.INTERNAL, "returns Detections, not ndarray"),
        (18, grpc.StatusCode.INTERNAL, "the box of 'thing' has 3 numbers: it is x, y, width, height"),
        (19, grpc.StatusCode.INTERNAL, "the confidence of 'thing' is nan"),
    ],
)
async def test_each_way_to_fail_has_the_code_that_callers_act_on(
    sequence: int, code: grpc.StatusCode, words: str
) -> None:
    async with serving(moods) as (server, client):
        error = await client.refusal(raw(sequence))
        assert (await client.result(raw(17))).result.status == v1.STATUS_OK
    assert error.code() == code
    assert words in (error.details() or "")
    assert server.meters.not_ok == 1


async def test_requests_that_hold_no_processable_frame_are_invalid() -> None:
    referenced, no_id, bad_source, epoch_zero, too_short, no_content = (raw() for _ in range(6))
    referenced.reference.topic = "cam0"
    no_id.ClearField("id")
    bad_source.id.source_id = "../cam"
    epoch_zero.id.epoch = 0
    too_short.width = 100
    no_content.ClearField("inline")
    async with serving(moods) as (_, client):
        for frame in (referenced, no_id, bad_source, epoch_zero, too_short, no_content):
            error = await client.refusal(frame)
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, frame
        with pytest.raises(grpc.aio.AioRpcError, match="holds no frame"):
            await client.process(rpc.ProcessRequest(), timeout=PATIENCE_S)


async def test_an_async_function_runs_many_calls_at_once() -> None:
    here, everyone = 0, asyncio.Event()

    @processor(name="together")
    async def together(image: Image) -> list[Detection]:
        nonlocal here
        here += 1
        if here == 6:
            everyone.set()
        await everyone.wait()
        return [Detection(str(image[0, 0, 0]))]

    async with serving(together, ServeConfig(threads=1, admission=6)) as (_, client):
        answers = await asyncio.gather(*(client.result(raw(n)) for n in range(6)))
    assert [answer.result.detections[0].label for answer in answers] == ["0", "1", "2", "3", "4", "5"]


async def test_a_function_of_frames_needs_no_picture() -> None:
    @frame_processor(name="count")
    def count(frame: Frame) -> Result:
        return Result(attributes={"before": len(frame.results)})

    frame = raw()
    frame.missing.reason = v1.Missing.REASON_OMITTED
    frame.results.add(processor="people")
    async with serving(count) as (_, client):
        assert not (await client.describe(rpc.DescribeRequest())).needs_pixels
        answer = await client.result(frame)
    assert MessageToDict(answer.result.attributes) == {"before": 1}


async def test_a_new_image_comes_back_as_a_picture() -> None:
    @processor(name="smaller")
    def smaller(image: Image) -> Result:
        return Result(image=image[::2, ::2])

    async with serving(smaller) as (_, client):
        answer = await client.result(encoded(red(64, 48)))
    picture = answer.picture
    assert (picture.width, picture.height, picture.codec) == (32, 24, v1.CODEC_JPEG)
    assert picture.content.startswith(b"\xff\xd8")


async def test_admission_refuses_at_once_what_would_wait_too_long() -> None:
    gate = Gate()
    async with serving(gated(gate), ServeConfig(threads=1, admission=3)) as (server, client):
        admitted = [asyncio.ensure_future(client.result(raw(n))) for n in range(3)]
        await until(lambda: server.meters.in_flight == 3)
        error = await client.refusal(raw(3))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        gate.opened.set()
        await asyncio.gather(*admitted)
        # Each place is free again before its answer is seen: one caller, no refusal.
        for n in range(30):
            await client.result(raw(n))


async def test_an_abandoned_call_frees_its_place_and_is_never_begun() -> None:
    gate = Gate()
    async with serving(gated(gate), ServeConfig(threads=1, admission=2)) as (server, client):
        first = asyncio.ensure_future(client.result(raw(0)))
        await until(lambda: gate.begun == 1)
        for n in range(1, 20):
            abandoned = asyncio.ensure_future(client.result(raw(n)))
            await until(lambda: server.meters.in_flight == 2)
            abandoned.cancel()
            await until(lambda: server.meters.in_flight == 1)
        last = asyncio.ensure_future(client.result(raw(20)))
        await until(lambda: server.meters.in_flight == 2)
        gate.opened.set()
        await asyncio.gather(first, last)
    assert gate.begun == 2


async def test_a_call_ends_at_its_deadline() -> None:
    gate = Gate()
    async with serving(gated(gate)) as (server, client):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.process(rpc.ProcessRequest(frame=raw()), timeout=0.3)
        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: server.meters.in_flight == 0)
        gate.opened.set()


async def test_a_message_over_the_limit_is_refused_and_the_connection_lives() -> None:
    large = raw()
    large.width, large.inline = 4000, bytes(8000)
    async with serving(moods, ServeConfig(max_message_bytes=2000)) as (_, client):
        assert (await client.refusal(large)).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await client.result(raw())


async def test_a_drain_lets_running_calls_end_and_tells_who_watches() -> None:
    gate = Gate()
    async with serving(gated(gate)) as (server, client):
        running = asyncio.ensure_future(client.result(raw()))
        await until(lambda: gate.begun == 1)
        health = [client.health(health_pb2.HealthCheckRequest(service=name)) for name in ("", "framelane.v1.Processor")]
        assert [(await watch.read()).status for watch in health] == [SERVING, SERVING]
        stopping = asyncio.ensure_future(server.stop())
        assert [(await watch.read()).status for watch in health] == [NOT_SERVING, NOT_SERVING]
        assert not stopping.done()
        gate.opened.set()
        assert (await running).result.status == v1.STATUS_OK
        assert await asyncio.wait_for(stopping, PATIENCE_S) == 0


async def test_calls_of_those_who_have_not_noticed_yet_are_answered() -> None:
    server = Server(moods, ServeConfig(notice_s=1.0))
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        client = Client(channel)
        await client.result(raw())
        stopping = asyncio.ensure_future(server.stop())
        watch = client.health(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == NOT_SERVING
        for n in range(5):
            await client.result(raw(n))
        assert await asyncio.wait_for(stopping, PATIENCE_S) == 0
        assert (await client.refusal(raw())).code() == grpc.StatusCode.UNAVAILABLE


async def test_a_drain_ends_with_the_grace_time() -> None:
    gate = Gate()
    async with serving(gated(gate), ServeConfig(threads=1, grace_s=0.05)) as (server, client):
        hanging = asyncio.ensure_future(client.refusal(raw()))
        await until(lambda: gate.begun == 1)
        assert await asyncio.wait_for(server.stop(), PATIENCE_S) == 1
        assert (await hanging).code() == grpc.StatusCode.UNAVAILABLE
        gate.opened.set()


async def test_metrics_have_the_names_that_every_processor_has() -> None:
    async with serving(moods) as (server, client):
        await client.result(raw(0))
        await client.refusal(raw(14))
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for metric in server.meters.registry.collect()
            for sample in metric.samples
        }
    assert found["framelane_processor_calls_total", "moods", "ok"] == 1
    assert found["framelane_processor_calls_total", "moods", "invalid"] == 1
    assert found["framelane_processor_call_seconds_count", "moods"] == 2
    assert found["framelane_processor_in_flight", "moods"] == 0


def fetch(url: str) -> str:
    text: str = urllib.request.urlopen(url, timeout=PATIENCE_S).read().decode()
    return text


async def test_metrics_are_served_where_they_are_asked_for() -> None:
    async with serving(moods, ServeConfig(metrics="127.0.0.1:0")) as (server, client):
        await client.result(raw())
        page = await asyncio.to_thread(fetch, f"http://{server.metrics_address}/metrics")
    assert 'framelane_processor_calls_total{outcome="ok",processor="moods"} 1.0' in page


async def test_an_address_in_use_is_named_with_the_next_step() -> None:
    async with serving(moods) as (server, _):
        second = Server(moods, replace(server.config, listen=server.address))
        with pytest.raises(OSError, match=r"give another one") as raised:
            await second.start()
        assert server.address in str(raised.value)


async def test_a_caller_that_asks_often_whether_the_connection_lives_is_not_hung_up_on() -> None:
    options = [
        ("grpc.keepalive_time_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with serving(moods) as (server, _), grpc.aio.insecure_channel(server.address, options=options) as channel:
        await Client(channel).result(raw())
        state = channel.get_state()
        # Three pings that nothing excuses: more than gRPC allows unless it is told.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.wait_for_state_change(state), 17)
