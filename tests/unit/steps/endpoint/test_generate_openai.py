"""The client against a real server in this process, which answers well, badly and not at all."""

import asyncio
import json
import threading

import pytest
from asking import KEY, REQUEST, TWO, refused
from openai_endpoint import completion

from hydra_ray.records import ChatRequest, Message, Usage
from hydra_ray.steps.generate import GenerateError


async def test_the_endpoint_is_asked_in_its_own_terms(client, endpoint):
    endpoint.replies = [completion(" comedy\n", "drama")]
    answer = await client()(TWO)
    assert answer.texts == ("comedy", "drama")
    assert answer.usage == Usage(calls=1, prompt_tokens=11, completion_tokens=5)
    assert endpoint.asked == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Which tag?"}, {"role": "assistant", "content": "drama"}],
            "n": 2,
            "temperature": 0.0,
            "max_tokens": 8,
        }
    ]
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("temperature", "send_seed", "seed"), [(0.7, True, 3), (0.7, False, None), (0.0, True, None), (0.0, False, None)]
)
async def test_a_seed_is_sent_where_it_matters_and_may_be(client, endpoint, temperature, send_seed, seed):
    await client(send_seed=send_seed)(ChatRequest(REQUEST.messages, temperature=temperature, seed=3))
    assert endpoint.asked[0].get("seed") == seed
    assert ("seed" in endpoint.asked[0]) == (seed is not None)


async def test_a_server_without_keys_is_asked_all_the_same(client, monkeypatch):
    monkeypatch.delenv("LLM_KEY")
    assert (await client()(REQUEST)).texts == ("fine",)


@pytest.mark.parametrize(
    ("offered", "texts"), [(["one", "two"], ("one", "two")), ([None, "one", ""], ("one",)), (["one", None], ("one",))]
)
async def test_choices_that_are_empty_are_left_out(client, endpoint, offered, texts):
    endpoint.replies = [completion(*offered)]
    assert (await client()(TWO)).texts == texts


@pytest.mark.parametrize("body", [completion(), completion(None, ""), {}, {"choices": None}])
async def test_a_reply_without_any_text_is_an_error(client, endpoint, body):
    endpoint.replies = [body]
    assert (await refused(client())).startswith("tiny: the reply has no choices with text")


@pytest.mark.parametrize("body", ['"overloaded"', '["overloaded"]', '{"status": "overloaded"}'])
async def test_what_a_reply_of_no_known_form_holds_is_shown(client, endpoint, body):
    endpoint.replies = [body]
    assert await refused(client()) == f"tiny: the reply has no choices with text: {body}"


async def test_more_answers_than_were_asked_for_are_not_taken(client, endpoint):
    endpoint.replies = [completion("one", "two", "three")]
    assert (await client()(TWO)).texts == ("one", "two")


@pytest.mark.parametrize("text", ["fine", ""])
async def test_an_error_beside_choices_is_no_answer(client, endpoint, text):
    endpoint.replies = [{**completion(text), "error": {"code": 503, "message": "overloaded"}}]
    with pytest.raises(GenerateError, match="HTTP 503: overloaded") as caught:
        await client()(REQUEST)
    assert (caught.value.kind, caught.value.final) == ("server", False)


async def test_a_reply_without_usage_counts_the_call(client, endpoint):
    endpoint.replies = [completion("fine", usage=None)]
    assert (await client()(REQUEST)).usage == Usage(calls=1)


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": None}, {"prompt_tokens": "7", "completion_tokens": -3}, {"prompt_tokens": 7.5}, [7], 7]
)
async def test_usage_without_numbers_can_be_added_up(client, endpoint, usage):
    endpoint.replies = [completion("fine", usage=usage)]
    assert (await client()(REQUEST)).usage + Usage() == Usage(calls=1)


async def test_half_a_surrogate_pair_in_a_reply_can_be_stored(client, endpoint):
    endpoint.replies = ['{"choices": [{"message": {"content": "fi\\ud83dne"}}]}']
    assert (await client()(REQUEST)).texts == ("fi?ne",)


async def test_half_a_surrogate_pair_in_a_prompt_is_the_requests_own_fault(client, endpoint):
    with pytest.raises(GenerateError, match="not valid Unicode") as caught:
        await client(retries=4)(ChatRequest((Message("user", "fi\ud83dne"),)))
    assert (caught.value.kind, caught.value.transient, endpoint.asked) == ("refused", False, [])


async def test_a_passing_failure_is_tried_again(client, endpoint):
    endpoint.replies = [(500, {"error": {"message": "out of luck"}}), completion("fine")]
    answer = await client(retries=1)(REQUEST)
    assert (answer.texts, answer.usage.calls, len(endpoint.asked)) == (("fine",), 1, 2)


async def test_a_lasting_failure_is_told_in_the_servers_words(client, endpoint):
    endpoint.replies = [(500, {"error": {"message": "out of luck"}})]
    assert await refused(client(retries=2)) == "tiny: HTTP 500: out of luck"
    assert len(endpoint.asked) == 3


async def test_garbage_is_an_error(client, endpoint):
    endpoint.replies = ['{"choices": [oops']
    assert (await refused(client())).startswith("tiny: ")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", "<html>Welcome!</html>"),
        ("application/json", "[]"),
        ("application/json", "null"),
        ("application/json", {"choices": [{"message": None}]}),
        ("application/json", {"choices": [{}]}),
        ("application/json", {"choices": 5}),
        ("application/json", {"choices": "fine"}),
        ("application/json", {"choices": [5, None, "fine"]}),
        ("application/json", {"choices": [{"message": "fine"}]}),
        ("application/json", {"choices": [{"message": {"content": {"text": "fine"}}}]}),
    ],
)
async def test_a_reply_of_another_shape_is_an_error(client, endpoint, content_type, body):
    endpoint.content_type, endpoint.replies = content_type, [body if isinstance(body, str) else json.dumps(body)]
    await refused(client())


async def test_a_server_that_hangs_is_given_up_and_the_next_request_is_answered(client, endpoint):
    released = threading.Event()
    endpoint.replies = [lambda _: released.wait(30) and completion("late"), completion("fine")]
    generator = client(timeout_s=1)
    assert "timed out" in await refused(generator)
    released.set()
    assert (await generator(REQUEST)).texts == ("fine",)


async def test_no_server_is_an_error(client, endpoint):
    endpoint.shutdown()
    endpoint.server_close()
    assert (await refused(client())).startswith("tiny: Connection error. ")


async def test_no_more_requests_are_in_flight_than_allowed(client, endpoint):
    released = threading.Event()
    endpoint.replies = [lambda _: released.wait(30) and completion("fine")]
    generator = client(concurrency=3)
    calls = [asyncio.create_task(generator(REQUEST)) for _ in range(12)]
    while len(endpoint.asked) < 3:
        await asyncio.sleep(0.01)
    # Time for a fourth, which must not come while these three wait.
    await asyncio.sleep(0.3)
    assert len(endpoint.asked) == 3
    released.set()
    assert [answer.texts for answer in await asyncio.gather(*calls)] == [("fine",)] * 12
