"""Functions of several pictures."""

import asyncio

import grpc
import pytest
from calls import raw, serving, until

from framelane.v1 import processor_pb2 as rpc
from framelane_processor import Detection, Image, batch_processor, processor


async def test_calls_are_gathered_and_each_gets_its_own_answer() -> None:
    sizes = []

    @batch_processor(name="levels", size=4, max_wait_s=30)
    def levels(images: list[Image]) -> list[list[Detection]]:
        sizes.append(len(images))
        return [[Detection(str(image[0, 0, 0]))] for image in images]

    async with serving(levels) as (_, client):
        answers = await asyncio.gather(*(client.result(raw(n)) for n in range(8)))
    assert [answer.result.detections[0].label for answer in answers] == [str(n) for n in range(8)]
    # The wait is far longer than the test: only full batches can have been begun.
    assert sizes == [4, 4]


async def test_the_first_picture_waits_no_longer_than_it_may() -> None:
    @batch_processor(name="lonely", size=100, max_wait_s=0.01)
    async def lonely(images: list[Image]) -> list[None]:
        return [None] * len(images)

    async with serving(lonely) as (_, client):
        await client.result(raw())


async def test_a_frame_whose_batch_failed_is_tried_again_alone() -> None:
    batches = []

    @batch_processor(name="picky", size=3, max_wait_s=30)
    def picky(images: list[Image]) -> list[None]:
        levels = sorted(int(image[0, 0, 0]) for image in images)
        batches.append(levels)
        if 2 in levels:
            raise ValueError("I do not like 2")
        return [None] * len(images)

    async with serving(picky) as (_, client):
        errors = await asyncio.gather(*(client.refusal(raw(n)) for n in (1, 2, 3)))
        assert {error.code() for error in errors} == {grpc.StatusCode.INTERNAL}
        await client.result(raw(1), attempt=2)
        await client.refusal(raw(2), attempt=2)
        await client.result(raw(3), attempt=2)
    assert batches == [[1, 2, 3], [1], [2], [3]]


async def test_a_caller_that_leaves_makes_room_for_another() -> None:
    @batch_processor(name="pairs", size=2, max_wait_s=30)
    def pairs(images: list[Image]) -> list[list[Detection]]:
        levels = sorted(int(image[0, 0, 0]) for image in images)
        return [[Detection(str(levels))] for _ in images]

    async with serving(pairs) as (server, client):
        leaves = asyncio.ensure_future(client.result(raw(9)))
        await until(lambda: server.meters.in_flight == 1)
        leaves.cancel()
        await until(lambda: server.meters.in_flight == 0)
        answers = await asyncio.gather(client.result(raw(1)), client.result(raw(2)))
    assert [answer.result.detections[0].label for answer in answers] == ["[1, 2]"] * 2


async def test_an_answer_for_each_picture_is_demanded() -> None:
    @batch_processor(name="forgetful", size=2, max_wait_s=30)
    def forgetful(_: list[Image]) -> list[None]:
        return [None]

    async with serving(forgetful) as (_, client):
        errors = await asyncio.gather(client.refusal(raw(0)), client.refusal(raw(1)))
        for error in errors:
            assert "1 answers for 2 pictures" in (error.details() or "")
        await client.result(raw(), attempt=2)


async def test_frames_that_come_together_are_looked_at_together() -> None:
    @batch_processor(name="count", size=8, max_wait_s=0.0025)
    def count(images: list[Image]) -> list[list[Detection]]:
        return [[Detection(f"{image[0, 0, 0]} of {len(images)}")] for image in images]

    broken = raw(1)
    broken.width = 5
    async with serving(count) as (server, client):
        described = await client.describe(rpc.DescribeRequest())
        assert (described.max_batch, described.max_batch_wait_us) == (8, 2500)
        # What cannot be decoded is no part of the batch.
        assert await client.outcomes(raw(0), broken, raw(2)) == ["0 of 2", "3", "2 of 2"]
        assert (server.meters.ok, server.meters.frames, server.meters.not_ok) == (1, 3, 0)


async def test_a_batch_larger_than_asked_for_is_looked_at_in_parts() -> None:
    @batch_processor(name="pairs", size=2)
    async def pairs(images: list[Image]) -> list[list[Detection]]:
        return [[Detection(str(len(images)))] for _ in images]

    async with serving(pairs) as (_, client):
        assert await client.outcomes(raw(0), raw(1), raw(2)) == ["2", "2", "1"]


async def test_what_a_batch_function_raises_is_the_whole_calls() -> None:
    @batch_processor(name="no", size=2)
    def no(_: list[Image]) -> list[None]:
        raise ValueError("not today")

    async with serving(no) as (_, client):
        with pytest.raises(grpc.aio.AioRpcError, match="not today"):
            await client.outcomes(raw(0), raw(1))


async def test_other_functions_answer_batches_frame_by_frame() -> None:
    @processor(name="odd")
    def odd(image: Image) -> list[Detection]:
        if image[0, 0, 0] % 2 == 0:
            raise ValueError("even")
        return [Detection("odd")]

    async with serving(odd) as (_, client):
        assert (await client.describe(rpc.DescribeRequest())).max_batch == 0
        assert await client.outcomes(raw(1), raw(2), raw(3)) == ["odd", "13", "odd"]


@pytest.mark.parametrize(("size", "wait_s"), [(0, 1.0), (2, -1.0)])
def test_batches_that_cannot_be_are_refused(size: int, wait_s: float) -> None:
    with pytest.raises(ValueError, match="batch"):
        batch_processor(name="none", size=size, max_wait_s=wait_s)
