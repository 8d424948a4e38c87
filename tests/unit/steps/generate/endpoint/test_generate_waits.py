"""Waits that an endpoint asks for are kept, and hold up nobody else."""

import asyncio
import random

import faulty_endpoint as f
import pytest
from asking import failure, request

from hydra_ray.steps.generate.endpoint import rounds as rounds_module


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "0.4"}, 0.4),
        ({"retry_after_ms": "400"}, 0.4),
        ({"retry_after_ms": "400", "retry_after": "0"}, 0.4),
    ],
)
async def test_retry_after_is_waited_for(start, headers, seconds):
    server = await start(f.fails(429, **headers), f.good)
    await start.ask(server)(request())
    first, second = server.asked
    assert second.at - first.at >= seconds


@pytest.mark.parametrize("text", ["soon", "nan", "-5", "inf", "", "99:99", "Fri, 99 Foo 2026 00:00:00 GMT"])
async def test_a_retry_after_without_sense_is_not_waited_for(start, text):
    server = await start(f.fails(429, retry_after=text), f.good)
    assert (await start.ask(server)(request())).texts == ("echo hello",)


async def test_retry_after_holds_for_all_requests_to_the_endpoint(start, clock):
    server = await start(f.fails(429, retry_after="0.6"), f.good)
    generator = start.ask(server)
    first = asyncio.create_task(generator(request("first")))
    while not clock.slept:
        await asyncio.sleep(0.005)
    second = asyncio.create_task(generator(request("second")))
    await asyncio.gather(first, second)
    refused, *later = server.asked
    assert len(later) == 2
    assert min(asked.at for asked in later) - refused.at >= 0.6


async def test_retry_after_holds_for_requests_that_wait_for_a_slot(start):
    server = await start(f.fails(429, retry_after="0.5"), f.good)
    generator = start.ask(server, concurrency=1)
    await asyncio.gather(*(generator(request(str(i))) for i in range(3)))
    refused, *later = server.asked
    assert len(later) == 3
    assert min(asked.at for asked in later) - refused.at >= 0.5


async def test_waiting_for_one_endpoint_holds_up_no_request_to_another(start):
    busy, other = await start(f.good), await start(f.good)
    busy.behave = lambda asked: f.fails(429, retry_after="30")
    generator = start.ask(busy, other, concurrency=1)
    answers = await asyncio.wait_for(asyncio.gather(*(generator(request(str(i))) for i in range(5))), 20)
    assert [answer.texts for answer in answers] == [(f"echo {i}",) for i in range(5)]
    assert (len(busy.asked), len(other.asked)) == (1, 5)


async def test_another_endpoint_is_tried_again_before_one_that_asks_to_wait(start):
    busy, other = await start(f.fails(429, retry_after="30")), await start(f.fails(500), f.fails(500), f.good)
    answer = await asyncio.wait_for(start.ask(busy, other)(request()), 20)
    assert (answer.texts, len(busy.asked), len(other.asked)) == (("echo hello",), 1, 3)


async def test_waiting_between_attempts_holds_no_slot(start, monkeypatch):
    monkeypatch.setattr(rounds_module, "FIRST_WAIT_S", 60)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    server = await start()
    server.behave = lambda asked: f.fails(500) if asked.text == "ill" else f.good
    generator = start.ask(server, concurrency=1)
    waiting = asyncio.create_task(generator(request("ill")))
    while not server.asked:
        await asyncio.sleep(0.005)
    assert (await asyncio.wait_for(generator(request("well")), 20)).texts == ("echo well",)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_endpoint_that_asks_for_too_long_a_wait_is_given_up(start, monkeypatch):
    # No time is lost in waiting for a retry that cannot come.
    monkeypatch.setattr(rounds_module, "FIRST_WAIT_S", 60)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    server = await start(f.fails(429, "quota used up", retry_after="3000"))
    generator = start.ask(server)
    error = await asyncio.wait_for(failure(generator), 20)
    assert (error.kind, error.transient) == ("busy", True)
    assert "HTTP 429: quota used up (asks to be left alone for" in str(error)
    # Until then nobody bothers it.
    error = await asyncio.wait_for(failure(generator), 20)
    assert "not asked (asks to be left alone for" in str(error)
    assert len(server.asked) == 1
