"""Endpoints and keys that stand in for each other."""

import asyncio

import faulty_endpoint as f
import pytest
from asking import failure, request

from hydra_ray.steps.generate.endpoint.client import Endpoint, OpenAIGenerator
from hydra_ray.steps.generate.endpoint.health import COOL_DOWN_S


async def test_another_endpoint_stands_in_at_once_and_for_a_while(start, clock):
    ill, well = await start(f.fails(500)), await start(f.good)
    generator = start.ask(ill, well, retries=0)
    for i in range(3):
        assert (await generator(request(str(i)))).texts == (f"echo {i}",)
    assert (len(ill.asked), len(well.asked)) == (1, 3)
    # After its rest the first is asked again, and stays in use when it is well.
    clock.now += COOL_DOWN_S + 1
    ill.behave = lambda _: f.good
    for i in range(2):
        assert (await generator(request(str(i)))).texts == (f"echo {i}",)
    assert (len(ill.asked), len(well.asked)) == (3, 3)


async def test_after_its_rest_an_endpoint_is_tried_by_one_request_alone(start, clock):
    ill, well = await start(f.fails(500)), await start(f.good)
    generator = start.ask(ill, well, retries=0)
    await generator(request())
    clock.now += COOL_DOWN_S + 1
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
