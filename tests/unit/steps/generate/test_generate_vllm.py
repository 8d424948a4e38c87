"""vLLM's replies and failures, as they come from the engine's deployment."""

import asyncio
from dataclasses import replace

import pytest
from defaults import vllm_generator

from hydra_ray.records import ChatRequest, Message, Sampling, Usage
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.vllm import cache_salt

REQUEST = ChatRequest((Message("user", "Which tag?"),), n=2, temperature=0.7, max_tokens=8, seed=3)


def reply(*texts):
    choices = [{"index": i, "message": {"role": "assistant", "content": text}} for i, text in enumerate(texts)]
    return {"choices": choices, "usage": {"prompt_tokens": 11, "completion_tokens": 5}}


class Engine:
    """Gives its replies in turn, the last one for ever; an exception is raised."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    async def __call__(self, payload):
        self.asked.append(payload)
        answer = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_one_request_with_n_in_the_engines_terms():
    engine = Engine(reply(" comedy\n", "drama"))
    answer = await vllm_generator(engine, "acme", "secret")(REQUEST)
    assert answer.texts == ("comedy", "drama")
    assert answer.usage == Usage(1, 11, 5)
    assert engine.asked == [
        {
            "messages": [{"role": "user", "content": "Which tag?"}],
            "n": 2,
            "temperature": 0.7,
            "max_tokens": 8,
            "seed": 3,
            "cache_salt": cache_salt("secret", "acme"),
        }
    ]


@pytest.mark.parametrize(("temperature", "send_seed"), [(0.0, True), (0.7, False)])
async def test_a_seed_is_left_out_where_it_means_nothing_or_is_not_wanted(temperature, send_seed):
    engine = Engine(reply("fine"))
    await vllm_generator(engine, "acme", send_seed=send_seed)(ChatRequest(REQUEST.messages, temperature=temperature))
    assert "seed" not in engine.asked[0]


async def test_what_a_client_wishes_goes_before_what_is_set_and_what_vllm_does_not_know_is_named():
    cut = reply("comedy", "drama")
    cut["choices"][1]["finish_reason"] = "length"
    cut["usage"] |= {"prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": None}
    engine = Engine(cut)
    wished = replace(REQUEST, sampling=Sampling(top_p=0.5, verbosity="low"))
    answer = await vllm_generator(engine, "acme", params={"top_p": 0.9, "min_p": 0.1}, send_seed=False)(wished)
    asked = engine.asked[0]
    assert (asked["top_p"], asked["min_p"], "verbosity" in asked) == (0.5, 0.1, False)
    assert answer.ignored == ("verbosity", "seed")
    assert (answer.finishes, answer.usage) == (("stop", "length"), Usage(1, 11, 5, 0, 8, 0))


async def test_salts_tell_tenants_apart_and_are_the_same_in_every_process():
    salts = []
    for tenant in ("acme", "zeta", "acme"):
        engine = Engine(reply("fine"))
        await vllm_generator(engine, tenant, "secret")(REQUEST)
        salts.append(engine.asked[0]["cache_salt"])
    assert salts[0] == salts[2] != salts[1]
    assert all(len(salt) == 64 and int(salt, 16) for salt in salts)
    assert "acme" not in salts[0]


async def test_without_a_key_processes_share_no_prefixes():
    engine = Engine(reply("fine"))
    await vllm_generator(engine, "acme")(REQUEST)
    await vllm_generator(engine, "acme")(REQUEST)
    assert engine.asked[0]["cache_salt"] != engine.asked[1]["cache_salt"] != cache_salt("", "acme")


async def test_an_engine_that_was_away_is_asked_again_and_the_cause_is_logged(caplog):
    engine = Engine(GenerateError("not available", "connection", True), reply("fine"))
    answer = await vllm_generator(engine, "acme", retries=1)(REQUEST)
    assert (answer.texts, answer.usage.calls, len(engine.asked)) == (("fine",), 1, 2)
    assert "Retrying" in caplog.text
    assert "not available" in caplog.text


async def test_an_engine_that_stays_away_is_given_up():
    engine = Engine(GenerateError("not available", "connection", True))
    with pytest.raises(GenerateError, match="not available") as caught:
        await vllm_generator(engine, "acme", retries=1)(REQUEST)
    assert (caught.value.kind, caught.value.transient, len(engine.asked)) == ("connection", True, 2)


@pytest.mark.parametrize(("code", "kind", "asked"), [(400, "refused", 1), (422, "refused", 1), (500, "server", 3)])
async def test_what_vllm_refuses_is_told_in_its_words(code, kind, asked):
    engine = Engine({"error": {"message": "the prompt is too long", "code": code}})
    with pytest.raises(GenerateError, match=r"^vLLM: the prompt is too long$") as caught:
        await vllm_generator(engine, "acme", retries=2)(REQUEST)
    assert (caught.value.kind, len(engine.asked)) == (kind, asked)


async def test_what_vllm_takes_of_no_request_is_the_settings_fault_and_of_one_its_own():
    odd = {"error": {"message": "top_p must be in (0, 1]", "code": 400}}
    generator = vllm_generator(Engine(odd, reply("fine", "well"), odd), "acme", params={"top_p": 5})
    kinds = []
    for _ in range(3):
        try:
            await generator(REQUEST)
        except GenerateError as error:
            kinds.append((error.kind, error.final))
    assert kinds == [("setting", False), ("refused", True)]


async def test_further_parameters_are_sent_and_reasoning_is_left_out():
    engine = Engine(reply("<think>hm</think>fine", "<think>hm"))
    answer = await vllm_generator(engine, "acme", params={"top_p": 0.5})(REQUEST)
    assert (answer.texts, engine.asked[0]["top_p"]) == (("fine",), 0.5)


async def test_choices_without_text_are_left_out_and_none_at_all_is_an_error():
    assert (await vllm_generator(Engine(reply(None, "one", " ")), "acme")(REQUEST)).texts == ("one",)
    with pytest.raises(GenerateError, match="no choices with text") as caught:
        await vllm_generator(Engine(reply(None, "")), "acme")(REQUEST)
    assert caught.value.kind == "empty"


async def test_an_engine_that_hangs_is_given_up():
    async def hang(payload):
        await asyncio.sleep(60)

    with pytest.raises(GenerateError, match=r"more than 0\.05 s") as caught:
        await vllm_generator(hang, "acme", timeout_s=0.05, retries=0)(REQUEST)
    assert caught.value.kind == "timeout"


async def test_no_more_requests_are_in_flight_than_allowed():
    released, waiting = asyncio.Event(), []

    async def engine(payload):
        waiting.append(payload)
        await released.wait()
        return reply("fine")

    generator = vllm_generator(engine, "acme", concurrency=3)
    calls = [asyncio.create_task(generator(REQUEST)) for _ in range(9)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(waiting) == 3
    released.set()
    assert [answer.texts for answer in await asyncio.gather(*calls)] == [("fine",)] * 9


HELD = replace(REQUEST, schema='{"type": "object"}')
NO_GRAMMAR = {"error": {"message": "structured outputs are off", "code": 400}}


async def test_an_answer_is_held_to_a_schema_whatever_is_set_for_all():
    engine = Engine(reply("{}", "{}"))
    await vllm_generator(engine, "acme", params={"response_format": {"type": "text"}})(HELD)
    schema = {"name": "answer", "strict": True, "schema": {"type": "object"}}
    assert engine.asked[0]["response_format"] == {"type": "json_schema", "json_schema": schema}


async def test_an_engine_that_holds_answers_to_no_schema_refuses_one_only():
    engine = Engine(NO_GRAMMAR, reply("{}", "{}"))
    generator = vllm_generator(engine, "acme")
    assert [(await generator(HELD)).texts for _ in range(3)] == [("{}", "{}")] * 3
    assert ["response_format" in body for body in engine.asked] == [True, False, False, False]


async def test_a_request_that_is_refused_without_a_schema_too_teaches_nothing():
    too_long = {"error": {"message": "maximum context length is 8", "code": 400}}
    engine = Engine(too_long, too_long, reply("{}", "{}"))
    generator = vllm_generator(engine, "acme")
    with pytest.raises(GenerateError, match="maximum context length"):
        await generator(HELD)
    await generator(HELD)
    assert "response_format" in engine.asked[-1]
