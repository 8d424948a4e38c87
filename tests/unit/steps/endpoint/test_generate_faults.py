"""Faults of endpoints and networks, against servers that misbehave over real sockets."""

import asyncio
import json
import random
from collections import Counter
from types import SimpleNamespace

import faulty_endpoint as f
import pytest
from asking import failure, request

from hydra_ray.records import Usage


async def test_the_server_of_these_tests_answers_when_it_is_well(start):
    server = await start(f.good)
    answer = await start.ask(server)(request("ünï"))
    assert (answer.texts, answer.usage, server.served) == (("echo ünï",), Usage(1, 7, 3), 1)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (f.fails(408), "timeout"),
        (f.fails(409), "busy"),
        (f.fails(429), "busy"),
        (f.fails(500), "server"),
        (f.fails(503), "server"),
        (f.fails(529), "server"),
        (f.hang_up, "connection"),
        (f.reset_head, "connection"),
        (f.cut_length, "connection"),
        (f.cut_chunks, "connection"),
        (f.not_http, "connection"),
        (f.garbage, "malformed"),
        (f.no_choices, "malformed"),
        (f.welcome_page, "malformed"),
        (f.deep_nesting, "malformed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_passing_fault_is_tried_again_and_a_lasting_one_is_told(start, fault, kind):
    server = await start(fault, fault, f.good)
    generator = start.ask(server, retries=2)
    answer = await generator(request())
    assert (answer.texts, answer.usage.calls, len(server.asked)) == (("echo hello",), 1, 3)

    server.behave = lambda _: fault
    error = await failure(generator)
    assert (error.kind, error.transient, len(server.asked)) == (kind, True, 6)
    assert str(error).startswith("tiny: ")
    assert len(str(error)) > len("tiny: ")


@pytest.mark.parametrize("status", [400, 402, 404, 413, 422])
async def test_a_refused_request_is_asked_once(start, status):
    server, other = await start(f.fails(status, "too long")), await start(f.good)
    error = await failure(start.ask(server, other))
    assert (error.kind, error.transient) == ("refused", False)
    assert f"HTTP {status}: too long" in str(error)
    assert (len(server.asked), len(other.asked)) == (1, 0)


async def test_an_llm_that_says_nothing_is_not_asked_again(start):
    server = await start(f.says(f.http(f.completion(" "))))
    error = await failure(start.ask(server))
    assert (error.kind, error.transient, len(server.asked)) == ("empty", False, 1)


@pytest.mark.parametrize(
    ("before", "content_type"), [(b"\xef\xbb\xbf", "application/json"), (b"", "text/plain; charset=iso-8859-1")]
)
async def test_json_is_utf_8_whatever_stands_before_it_or_in_the_header(start, before, content_type):
    body = before + json.dumps(json.loads(f.completion("Grüße")), ensure_ascii=False).encode()
    server = await start(f.says(f.http(body, content_type=content_type)))
    assert (await start.ask(server)(request())).texts == ("Grüße",)


async def test_an_endpoint_that_sends_on_for_ever_is_set_wrongly(start):
    server = await start()
    server.behave = lambda _: f.says(f.http(b"", 307, location=f"{server.url}/chat/completions"))
    error = await failure(start.ask(server))
    assert (error.kind, error.transient) == ("setting", False)
    assert "check generator.base_url" in str(error)


async def test_a_drip_of_bytes_ends_at_the_deadline(start):
    server = await start(f.drip)
    error = await asyncio.wait_for(failure(start.ask(server, timeout_s=0.3, retries=1)), 20)
    assert len(server.asked) == 2
    assert (error.kind, error.transient) == ("timeout", True)
    assert "timed out: no whole reply within 0.3 s" in str(error)


async def test_after_a_deadline_the_request_is_tried_again(start):
    server = await start(f.drip, f.good)
    # More retries than one, for where this machine is too slow for a good reply.
    answer = await start.ask(server, timeout_s=0.5, retries=9)(request())
    assert (answer.texts, answer.usage.calls) == (("echo hello",), 1)


async def test_connections_that_were_given_up_are_let_go(start):
    server = await start(f.drip)
    generator = start.ask(server, timeout_s=0.2, retries=0)
    await asyncio.wait_for(asyncio.gather(*(failure(generator) for _ in range(8))), 20)
    async with asyncio.timeout(20):
        while server.in_flight:
            await asyncio.sleep(0.02)


@pytest.fixture
def pace(monkeypatch):
    """What requests were let through, and how many more will be."""
    pace = SimpleNamespace(taken=[], lets=asyncio.Semaphore(0))

    async def acquire(self, amount):
        await pace.lets.acquire()
        pace.taken.append(amount)

    monkeypatch.setattr("aiolimiter.AsyncLimiter.acquire", acquire)
    return pace


async def test_requests_go_when_the_pace_lets_them(start, pace):
    server = await start(f.good)
    generator = start.ask(server, requests_per_minute=120)
    calls = [asyncio.create_task(generator(request(str(i)))) for i in range(10)]
    for more, allowed in ((3, 3), (7, 10)):
        for _ in range(more):
            pace.lets.release()
        async with asyncio.timeout(20):
            while sum(call.done() for call in calls) < allowed:
                await asyncio.sleep(0.005)
        assert (len(server.asked), pace.taken) == (allowed, [1] * allowed)


async def test_attempts_that_fail_are_paced_too(start, pace):
    server = await start()
    server.behave = lambda asked: f.fails(500) if sum(a.text == asked.text for a in server.asked) == 1 else f.good
    generator = start.ask(server, requests_per_minute=120)
    for _ in range(10):
        pace.lets.release()
    await asyncio.wait_for(asyncio.gather(*(generator(request(str(i))) for i in range(5))), 20)
    assert (len(server.asked), pace.taken) == (10, [1] * 10)


FAULTS = [
    f.fails(429, retry_after="0.2"),
    f.fails(500),
    f.fails(503, retry_after_ms="50"),
    f.hang_up,
    f.reset_head,
    f.cut_length,
    f.cut_chunks,
    f.garbage,
    f.no_choices,
]


def plans(rng, texts, faults):
    """What each request meets, attempt by attempt: up to three faults, then a refusal or good replies."""
    made = {}
    for text in texts:
        met = rng.choices(faults, k=rng.choice([0, 0, 1, 1, 2, 3]))
        # One deadline a request is wait enough.
        met = [fault for i, fault in enumerate(met) if fault is not f.drip or f.drip not in met[:i]]
        made[text] = [*met, *([f.fails(400, f"too long: no {text}")] if rng.random() < 0.1 else [])]
    return made


# The deadline with drips is far above what a good reply takes, so that none of those comes too late.
@pytest.mark.parametrize(("seed", "faults", "timeout_s"), [(0, FAULTS, 30), (1, FAULTS, 30), (2, [*FAULTS, f.drip], 4)])
async def test_in_any_mix_of_faults_every_request_ends_and_gets_its_own_answer(start, seed, faults, timeout_s):
    texts = [f"request {i}" for i in range(80)]
    rng, met = random.Random(seed), Counter()
    plan = plans(rng, texts, faults)
    servers = [await start() for _ in range(2)]

    def behave(asked):
        met[asked.text] += 1
        if met[asked.text] <= len(plan[asked.text]):
            return plan[asked.text][met[asked.text] - 1]
        # Replies overtake each other.
        return f.after(asyncio.sleep(rng.uniform(0, 0.02)), f.good)

    for server in servers:
        server.behave = behave
    generator = start.ask(*servers, concurrency=16, retries=3, timeout_s=timeout_s)
    tasks = [asyncio.create_task(generator(request(text))) for text in texts]
    ends = dict(zip(texts, await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60), strict=True))

    answered = {text: end for text, end in ends.items() if not isinstance(end, BaseException)}
    failed = {text: end for text, end in ends.items() if isinstance(end, BaseException)}
    assert all(answer.texts == (f"echo {text}",) for text, answer in answered.items())
    count = len(answered)
    assert sum((answer.usage for answer in answered.values()), Usage()) == Usage(count, 7 * count, 3 * count)
    assert sum(server.served for server in servers) == count
    # Those that the plan refuses are refused, in their own words, and nobody else fails.
    refused = {text for text in texts if len(plan[text]) > sum(fault in faults for fault in plan[text])}
    assert failed.keys() == refused
    assert 0 < len(refused) < len(texts)
    assert all(
        f"HTTP 400: too long: no {text}" in str(error) and error.kind == "refused" for text, error in failed.items()
    )
    assert met == {text: len(plan[text]) + (text not in refused) for text in texts}
    assert max(server.most_in_flight for server in servers) <= 16
    # No connection is left behind.
    async with asyncio.timeout(20):
        while any(server.in_flight for server in servers):
            await asyncio.sleep(0.02)


async def test_a_storm_of_429_is_weathered(start):
    """The server takes one request each 20 ms and tells all others to come back later."""
    server, free_at = await start(), 0.0

    def behave(asked):
        nonlocal free_at
        if asked.at < free_at:
            return f.fails(429, retry_after="0.1")
        free_at = asked.at + 0.02
        return f.good

    server.behave = behave
    generator = start.ask(server, concurrency=8, retries=200)
    answers = await asyncio.wait_for(asyncio.gather(*(generator(request(str(i))) for i in range(16))), 60)
    assert [answer.texts for answer in answers] == [(f"echo {i}",) for i in range(16)]
    assert server.served == 16


async def test_a_cancelled_request_gives_its_slot_back(start):
    server = await start(f.drip, f.good)
    generator = start.ask(server, concurrency=1)
    task = asyncio.create_task(generator(request("first")))
    while not server.asked:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await asyncio.wait_for(generator(request("second")), 20)).texts == ("echo second",)
