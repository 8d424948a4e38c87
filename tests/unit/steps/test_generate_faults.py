"""Faults of endpoints and networks, against servers that misbehave over real sockets."""

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from types import SimpleNamespace

import faulty_endpoint as f
import pytest

from hydra_ray.records import ChatRequest, Message, Usage
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate import health as health_module
from hydra_ray.steps.generate import openai as openai_module
from hydra_ray.steps.generate.openai import Endpoint, OpenAIGenerator


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch):
    """Waits that the generator chooses itself are short; those that a server asks for stay."""
    monkeypatch.setattr(openai_module, "FIRST_WAIT_S", 0.02)


@pytest.fixture
async def start():
    """Starts servers and makes generators that ask them, in the order of the servers."""
    async with AsyncExitStack() as stack:

        async def start(*behaviours):
            return await stack.enter_async_context(f.FaultyEndpoint(*behaviours))

        def ask(*servers, keys=(), **options):
            keys = [*keys, *["HYDRA_TEST_NO_KEY"] * len(servers)]
            endpoints = [Endpoint(server.url, key) for server, key in zip(servers, keys, strict=False)]
            generator = OpenAIGenerator("tiny", endpoints, **{"timeout_s": 30, **options})
            stack.push_async_callback(generator.close)
            return generator

        start.ask = ask
        yield start


def request(text="hello"):
    return ChatRequest((Message("user", text),))


def pass_time(monkeypatch, seconds):
    """Only endpoints' health feels it; the event loop's clock goes on as it was."""
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + seconds, time=time.time)
    monkeypatch.setattr(health_module, "time", later)


async def failure(generator, text="hello"):
    with pytest.raises(GenerateError) as caught:
        await generator(request(text))
    return caught.value


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


async def test_retry_after_holds_for_all_requests_to_the_endpoint(start):
    server = await start(f.fails(429, retry_after="0.6"), f.good)
    generator = start.ask(server)
    first = asyncio.create_task(generator(request("first")))
    while not server.asked:
        await asyncio.sleep(0.005)
    # Time for the reply to get there.
    await asyncio.sleep(0.1)
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
    monkeypatch.setattr(openai_module, "FIRST_WAIT_S", 60)
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
    monkeypatch.setattr(openai_module, "FIRST_WAIT_S", 60)
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


async def test_a_drip_of_bytes_ends_at_the_deadline(start):
    server = await start(f.drip)
    begin = time.monotonic()
    error = await asyncio.wait_for(failure(start.ask(server, timeout_s=0.3, retries=1)), 20)
    assert time.monotonic() - begin >= 0.6
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


async def test_another_endpoint_stands_in_at_once_and_for_a_while(start, monkeypatch):
    ill, well = await start(f.fails(500)), await start(f.good)
    generator = start.ask(ill, well, retries=0)
    for i in range(3):
        assert (await generator(request(str(i)))).texts == (f"echo {i}",)
    assert (len(ill.asked), len(well.asked)) == (1, 3)
    # After its rest the first is asked again, and stays in use when it is well.
    pass_time(monkeypatch, health_module.COOL_DOWN_S + 1)
    ill.behave = lambda _: f.good
    for i in range(2):
        assert (await generator(request(str(i)))).texts == (f"echo {i}",)
    assert (len(ill.asked), len(well.asked)) == (3, 3)


async def test_after_its_rest_an_endpoint_is_tried_by_one_request_alone(start, monkeypatch):
    ill, well = await start(f.fails(500)), await start(f.good)
    generator = start.ask(ill, well, retries=0)
    await generator(request())
    pass_time(monkeypatch, health_module.COOL_DOWN_S + 1)
    others_done = asyncio.Event()
    ill.behave = lambda _: f.after(others_done.wait(), f.fails(500))
    tasks = [asyncio.create_task(generator(request(str(i)))) for i in range(8)]
    async with asyncio.timeout(20):
        while sum(task.done() for task in tasks) < 7:
            await asyncio.sleep(0.005)
    others_done.set()
    assert [answer.texts for answer in await asyncio.gather(*tasks)] == [(f"echo {i}",) for i in range(8)]
    assert len(ill.asked) == 2


async def test_an_endpoint_that_rests_is_still_better_than_none(start):
    first, second = await start(f.fails(500), f.good), await start(f.good)
    generator = start.ask(first, second, retries=0)
    await generator(request())
    second.behave = lambda _: f.hang_up
    assert (await generator(request("again"))).texts == ("echo again",)
    assert (len(first.asked), len(second.asked)) == (2, 2)


async def test_each_endpoint_has_its_own_name_of_the_model(start):
    first, second = await start(f.fails(500)), await start(f.good)
    generator = OpenAIGenerator("tiny", [Endpoint(first.url), Endpoint(second.url, model="tiny-2")])
    await generator(request())
    await generator.close()
    assert [first.asked[0].body["model"], second.asked[0].body["model"]] == ["tiny", "tiny-2"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_hands_over_to_the_next_endpoint(start, monkeypatch, status):
    monkeypatch.setenv("OLD", "sk-old")
    monkeypatch.setenv("NEW", "sk-new")
    server = await start()
    server.behave = lambda asked: f.good if asked.key == "sk-new" else f.fails(status, "who are you?")
    generator = start.ask(server, server, keys=["OLD", "NEW"], retries=0)
    for i in range(2):
        assert (await generator(request(str(i)))).texts == (f"echo {i}",)
    # The second request does not try the refused key again.
    assert [asked.key for asked in server.asked] == ["sk-old", "sk-new", "sk-new"]


async def test_keys_that_are_all_refused_are_not_tried_again(start):
    first, second = await start(f.fails(401, "who are you?")), await start(f.fails(403, "not for you"))
    error = await failure(start.ask(first, second, retries=5))
    assert (error.kind, error.transient) == ("key", False)
    assert str(error) == (
        "tiny: endpoint 1 (127.0.0.1): HTTP 401: who are you?; endpoint 2 (127.0.0.1): HTTP 403: not for you"
    )
    assert (len(first.asked), len(second.asked)) == (1, 1)


async def test_a_refused_key_is_not_tried_again_while_another_endpoint_recovers(start):
    refusing, ill = await start(f.fails(401)), await start(f.fails(500), f.fails(500), f.good)
    answer = await start.ask(refusing, ill)(request())
    assert (answer.texts, len(refusing.asked), len(ill.asked)) == (("echo hello",), 1, 3)


async def test_all_endpoints_down_is_told_for_each(start):
    first, second, gone = await start(f.fails(500, "ouch")), await start(f.garbage), await start(f.good)
    await gone.__aexit__()
    error = await failure(start.ask(first, second, gone, retries=1))
    assert error.transient
    assert "endpoint 1 (127.0.0.1): HTTP 500: ouch; " in str(error)
    assert "endpoint 2 (127.0.0.1): the reply makes no sense: " in str(error)
    assert "endpoint 3 (127.0.0.1): Connection error. " in str(error)
    assert (len(first.asked), len(second.asked)) == (2, 2)


async def test_requests_are_paced(start):
    server = await start(f.good)
    # 9.2 may go at once, and then 1.85 a second.
    generator = start.ask(server, requests_per_minute=120)
    begin = time.monotonic()
    await asyncio.gather(*(generator(request()) for _ in range(10)))
    assert server.asked[-1].at - begin >= 0.4


async def test_attempts_that_fail_are_paced_too(start):
    server = await start()
    server.behave = lambda asked: f.fails(500) if sum(a.text == asked.text for a in server.asked) == 1 else f.good
    generator = start.ask(server, requests_per_minute=120)
    begin = time.monotonic()
    await asyncio.gather(*(generator(request(str(i))) for i in range(5)))
    assert len(server.asked) == 10
    assert server.asked[-1].at - begin >= 0.4


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
        made[text] = [*met, *([f.fails(400, f"no {text}")] if rng.random() < 0.1 else [])]
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
    assert all(f"HTTP 400: no {text}" in str(error) and error.kind == "refused" for text, error in failed.items())
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
