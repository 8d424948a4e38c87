"""Answers that are held to a schema, over real HTTP: by what the endpoint takes, which one refusal teaches."""

import asyncio
import json
from dataclasses import replace

import pytest
from quirky_asking import ASKED, asking

from hydra_ray.records import ChatRequest, Message, Sampling
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.cache import ask_key
from hydra_ray.steps.generate.endpoint.dialect import Dialect, lessons
from hydra_ray.steps.generate.endpoint.refusal import Refusal

SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
HELD = ChatRequest((Message("user", "A colour, as JSON?"),), schema=json.dumps(SCHEMA))
BY_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
BY_OBJECT = {"type": "json_object"}


@pytest.mark.parametrize(
    ("quirks", "sent", "refused"),
    [
        ([], BY_SCHEMA, 0),
        (["noschema"], BY_OBJECT, 1),
        (["noformat"], None, 1),
        (["badschema"], None, 2),
        (["oddformat"], None, 1),
        (["noschema", "edetail"], BY_OBJECT, 1),
        (["noformat", "noseed", "nosystem"], None, 1),
    ],
)
async def test_a_refusal_teaches_once_whoever_asks_at_the_same_moment_and_afterwards(
    server, quirks, sent, refused, tmp_path
):
    name = "+".join(quirks) or "plain"
    refused_before, asked_before = server.refused[name], len(server.asked.get(name, []))
    many = [replace(HELD, messages=(Message("user", f"Colour {n}, as JSON?"),)) for n in range(8)]
    for _ in range(2):
        # What was learnt is kept for later commands.
        async with asking(server.url(*quirks), file=tmp_path / "dialects.json") as generator:
            answers = await asyncio.gather(*map(generator, many))
        assert all(answer.texts and answer.ignored == () for answer in answers)
        assert server.asked[name][-1].get("response_format") == sent
    assert server.refused[name] - refused_before == refused
    assert len(server.asked[name]) - asked_before == 16 + refused


async def test_what_is_set_is_not_tried_otherwise(server):
    async with asking(server.url("noformat", "cap3"), dialect={"json_by": "words"}) as generator:
        await generator(HELD)
    assert server.refused["noformat+cap3"] == 0


async def test_other_requests_know_nothing_of_it_and_what_a_client_wants_goes_before(server):
    wanted = {"type": "json_schema", "json_schema": {"name": "mine", "schema": {}}}
    async with asking(server.url("noschema", "temp1"), params={"response_format": wanted}) as generator:
        assert (await generator(HELD)).texts
        with pytest.raises(GenerateError, match="json_schema"):
            await generator(replace(HELD, schema=""))
    async with asking(server.url("eobject")) as generator:
        await generator(ASKED)
        await generator(replace(HELD, sampling=Sampling(response_format=json.dumps(wanted))))
    plain, clients = server.asked["eobject"]
    assert "response_format" not in plain
    assert clients["response_format"] == wanted


async def test_a_refusal_of_the_prompt_itself_changes_nothing(server):
    async with asking(server.url("odd")) as generator:
        for _ in range(2):
            with pytest.raises(GenerateError, match="would rather not"):
                await generator(HELD)
    # Each was asked without a schema, too: whether that would do is not known before.
    assert ["response_format" in body for body in server.asked["odd"]] == [True, False] * 2


@pytest.mark.parametrize(
    ("refusal", "asked_by", "learnt"),
    [
        (Refusal(400, "This response_format type is unavailable now"), "json_schema", "object"),
        (
            Refusal(400, "'response_format' of type 'json_schema' is not supported with this model."),
            "json_schema",
            "object",
        ),
        (Refusal(400, "Invalid schema for response_format", fields=("response_format",)), "json_schema", "object"),
        (Refusal(400, "structured outputs are not supported by this model"), "json_schema", "words"),
        (Refusal(422, "Extra inputs are not permitted", fields=("response_format",)), "json_schema", "words"),
        (Refusal(400, "'messages' must contain the word 'json' to use 'response_format'"), "json_object", "words"),
        (Refusal(400, "'max_tokens' is too large: at most 16"), "json_schema", None),
    ],
)
def test_what_refusals_of_a_schema_teach(refusal, asked_by, learnt):
    sent = {"messages": [], "response_format": {"type": asked_by}, "max_tokens": 64}
    assert lessons(refusal, sent, held=True).get("json_by") == learnt
    assert "json_by" not in lessons(refusal, sent)


def test_a_late_lesson_takes_nothing_back():
    assert Dialect(json_by="words").changed({"json_by": "object"}).json_by == "words"
    assert Dialect().changed({"json_by": "object"}).json_by == "object"


def test_an_answer_to_a_schema_is_kept_apart_and_others_under_the_key_they_had():
    plain = replace(HELD, schema="")
    assert ask_key("m", HELD) != ask_key("m", plain)
    assert ask_key("m", plain) == "3254a463cf60c0f01dc4d91c8512dd230875f259bc8ac33aaf50f43f2d580527"
