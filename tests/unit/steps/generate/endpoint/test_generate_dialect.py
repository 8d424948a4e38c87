"""Endpoints' dialects, learnt from their refusals over real HTTP."""

import asyncio
import json
import logging

import pytest
import quirky_endpoint as quirky
from defaults import endpoint_at, openai_generator, splitting
from hypothesis import given, settings
from hypothesis import strategies as st
from quirky_asking import ASKED, TURNS, asking

from hydra_ray.records import ChatRequest, Message, Usage
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.endpoint.dialect import Dialect
from hydra_ray.steps.generate.endpoint.dialect_file import DialectFile
from hydra_ray.steps.generate.endpoint.target import place_of


async def twice(server, quirks, request=ASKED):
    """Two requests to an endpoint that nobody knows, how many were sent for each, and refused of each."""
    name = "+".join(quirks)
    server.asked.pop(name, None)
    server.refused.pop(name, None)
    async with asking(server.url(*quirks)) as generator:
        first = await generator(request)
        sent, refused = len(server.asked[name]), server.refused[name]
        second = await generator(request)
    sent, refused = [sent, len(server.asked[name]) - sent], [refused, server.refused[name] - refused]
    return first, second, sent, refused


@pytest.mark.parametrize(
    ("quirks", "sent", "refused"),
    [
        (["plain"], [1, 1], 0),
        (["n1"], [5, 4], 1),
        (["nloc"], [5, 4], 1),
        (["candidates"], [5, 4], 1),
        (["ignen"], [4, 4], 0),
        (["cap3"], [2, 2], 0),
        (["mct"], [2, 1], 1),
        (["temp1"], [2, 1], 1),
        (["noseed"], [2, 1], 1),
        (["strict"], [2, 1], 1),
        (["nosystem"], [2, 1], 1),
        (["onesystem"], [2, 1], 1),
        (["nodev"], [2, 1], 1),
        (["alternate"], [2, 1], 1),
        (["alternate", "nosystem"], [3, 1], 2),
        (["think"], [1, 1], 0),
        (["thinkclosed"], [1, 1], 0),
        (["reasoning"], [1, 1], 0),
        (["parts", "think"], [1, 1], 0),
        (["nousage"], [1, 1], 0),
        (["zh", "n1", "think"], [5, 4], 1),
        (["n1", "noseed", "temp1", "mct"], [8, 4], 4),
        (["noseed", "temp1", "mct", "e200", "estring"], [4, 1], 3),
        (["nloc", "enested"], [5, 4], 1),
        (["n1", "eraw"], [5, 4], 1),
        (["mct", "edetail"], [2, 1], 1),
        (["temp1", "egoogle"], [2, 1], 1),
        (["nodev", "eobject", "e200"], [2, 1], 1),
    ],
    ids=lambda value: "+".join(map(str, value)) if isinstance(value, list) else "",
)
async def test_a_refusal_teaches_once_and_every_request_is_answered_whole(server, quirks, sent, refused):
    first, second, requests, refusals = await twice(server, quirks)
    for answer, calls in zip((first, second), requests, strict=True):
        assert len(answer.texts) == 4
        assert set(answer.texts) <= set(quirky.ANSWERS["zh" if "zh" in quirks else "en"])
        assert answer.usage.calls == calls
    assert requests == sent
    assert refusals == [refused, 0]


REPHRASED = ["n1", "mct", "temp1", "noseed", "strict", "nosystem", "onesystem", "nodev", "alternate", "ignen"]
HARMLESS = ["think", "parts", "nousage", "reasoning", "zh", "e200"]
FORMS = ["edetail", "estring", "eobject", "enested", "egoogle", "eraw"]


@settings(max_examples=25)
@given(
    quirks=st.lists(st.sampled_from([*REPHRASED, *HARMLESS]), unique=True),
    form=st.sampled_from([None, *FORMS]),
    n=st.integers(1, 4),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    turns=st.lists(st.sampled_from(TURNS), min_size=1, max_size=7),
)
def test_in_any_mix_of_quirks_requests_are_answered_and_the_second_is_not_refused(
    server, quirks, form, n, temperature, turns
):
    request = ChatRequest(tuple(turns), n=n, temperature=temperature, max_tokens=8, seed=3)
    first, second, sent, refused = asyncio.run(twice(server, [*quirks, *([form] if form else []), "x"], request))
    assert (len(first.texts), len(second.texts)) == (n, n)
    assert refused[1] == 0
    assert [first.usage.calls, second.usage.calls] == sent
    assert sent[1] == (n if {"n1", "ignen"} & set(quirks) else 1)
    # Each lesson is learnt once.
    assert refused[0] <= len({*quirks} & {*REPHRASED}) + 1


async def test_samples_asked_one_by_one_are_seeded_in_turn(server):
    await twice(server, ["n1", "zh"])
    alone = server.asked["n1+zh"][1:5]
    assert sorted(body["seed"] for body in alone) == [5, 6, 7, 8]
    assert all("n" not in body for body in alone)


async def test_what_is_told_differently_is_still_told(server):
    await twice(server, ["nosystem", "nodev", "alternate"])
    messages = server.asked["nosystem+nodev+alternate"][-1]["messages"]
    assert [(m["role"], m["content"]) for m in messages] == [
        ("user", "Be brief.\n\nBe kind.\n\nBe quick.\n\nHello?\n\nAre you there?"),
        ("assistant", "Yes."),
        ("user", "And now?"),
    ]


async def test_a_conversation_that_the_llm_begins_is_begun_by_the_user_where_roles_alternate(server):
    turns = (Message("assistant", "Welcome."), Message("user", "Hi."))
    await twice(server, ["alternate", "y"], ChatRequest(turns))
    assert [m["role"] for m in server.asked["alternate+y"][-1]["messages"]] == ["user", "assistant", "user"]


async def test_nothing_is_refused_twice_once_one_request_was(server):
    """Those that wait for their turn have the form that those before them taught."""
    server.asked.clear()
    server.refused.clear()
    async with asking(server.url("n1", "mct", "z"), concurrency=2) as generator:
        answers = await asyncio.gather(*(generator(ASKED) for _ in range(12)))
    assert all(len(answer.texts) == 4 for answer in answers)
    # Two lessons, with two requests in flight.
    assert 2 <= server.refused["n1+mct+z"] <= 4
    assert len(server.asked["n1+mct+z"]) == 12 * 4 + server.refused["n1+mct+z"]
    assert sum((a.usage for a in answers), Usage()).calls == len(server.asked["n1+mct+z"])


async def test_what_was_learnt_is_known_to_later_processes(server, tmp_path):
    file, url = tmp_path / "answers" / "dialects.json", server.url("n1", "mct", "noseed")
    server.refused.clear()
    for refused in (3, 3):
        # Four samples, of which one at a time is sent until the form is known.
        async with asking(url, file=file) as generator:
            assert len((await generator(ASKED)).texts) == 4
        assert server.refused["n1+mct+noseed"] == refused
    kept = json.loads(file.read_text())
    del kept["answered"]
    assert kept == {f"{url} m": {"samples": 1, "max_tokens": "max_completion_tokens", "seed": False}}
    # Another model of the same endpoint is another.
    async with asking(url, file=file, model="other") as generator:
        await generator(ASKED)
    assert server.refused["n1+mct+noseed"] == 6


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ("{oops", "cannot be read"),
        ('{"URL m": {"samples": "many"}}', "is not used"),
        ("[1]", ""),
        ('{"URL m": 5}', "not used"),
    ],
)
async def test_a_file_of_dialects_that_is_no_use_costs_refusals_only(server, tmp_path, caplog, kept, told):
    file, url = tmp_path / "dialects.json", server.url("n1")
    file.write_text(kept.replace("URL", url))
    async with asking(url, file=file) as generator:
        assert len((await generator(ASKED)).texts) == 4
    assert told in caplog.text
    assert DialectFile(file).get(place_of(url), "m") == Dialect(samples=1)


async def test_where_nothing_can_be_kept_that_is_logged(server, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    async with asking(server.url("n1"), file=tmp_path / "file" / "dialects.json") as generator:
        assert len((await generator(ASKED)).texts) == 4
    assert "cannot be kept" in caplog.text


async def test_an_endpoint_that_changed_is_learnt_again(server, tmp_path):
    file, url = tmp_path / "dialects.json", server.url("mt", "w")
    DialectFile(file).put(place_of(url), "m", Dialect(max_tokens="max_completion_tokens", seed=False))
    async with asking(url, file=file) as generator:
        assert len((await generator(ASKED)).texts) == 4
    assert DialectFile(file).get(place_of(url), "m") == Dialect(seed=False)


async def test_what_is_refused_by_words_nobody_knows_is_the_requests_fault_where_others_of_its_form_were_answered(
    server, tmp_path
):
    file, asked = tmp_path / "dialects.json", ChatRequest((Message("user", "Hello?"),))
    async with asking(server.url("plain", "form"), file=file) as generator:
        await generator(asked)
    url = server.url("odd", "form")
    # As if it were the same endpoint, which another process asks now.
    DialectFile(file).put_answered(
        place_of(url), "m", DialectFile(file).answered(place_of(server.url("plain", "form")), "m")
    )
    async with asking(url, file=file) as generator:
        with pytest.raises(GenerateError, match="I would rather not") as caught:
            await generator(asked)
    assert (caught.value.kind, caught.value.final) == ("refused", True)
    assert DialectFile(file).get(place_of(url), "m") is None


async def test_an_endpoint_that_takes_neither_form_is_not_asked_for_ever(server, tmp_path):
    file = tmp_path / "dialects.json"
    async with asking(server.url("mct", "mt"), file=file) as generator:
        with pytest.raises(GenerateError) as caught:
            await generator(ASKED)
        assert (caught.value.kind, caught.value.final) == ("setting", False)
        assert "max_completion_tokens" in str(caught.value)
        assert len(server.asked["mct+mt"]) == 3
    # What helped nobody is not remembered.
    assert not file.exists()


async def test_a_dialect_that_is_set_is_not_learnt_otherwise(server):
    async with asking(server.url("plain", "set"), dialect={"samples": 2, "temperature": "omitted"}) as generator:
        assert len((await generator(ASKED)).texts) == 4
    assert [body["n"] for body in server.asked["plain+set"]] == [2, 2]
    assert all("temperature" not in body for body in server.asked["plain+set"])
    async with asking(server.url("n1", "set"), dialect={"samples": 2}) as generator:
        with pytest.raises(GenerateError, match="must be at most 1") as caught:
            await generator(ASKED)
    assert caught.value.kind == "setting"


async def test_that_an_endpoint_is_never_greedy_is_said_once(server, caplog):
    async with asking(server.url("temp1")) as generator:
        await asyncio.gather(*(generator(ChatRequest(TURNS, temperature=0.0)) for _ in range(4)))
    assert sum("never greedy" in record.message for record in caplog.records) == 1


async def test_a_temperature_of_zero_may_have_to_be_positive(server):
    async with asking(server.url("positive")) as generator:
        await generator(ChatRequest(TURNS, temperature=0.0))
        await generator(ChatRequest(TURNS, temperature=0.7))
    assert [body["temperature"] for body in server.asked["positive"]] == [0.0, 0.01, 0.7]


@pytest.mark.parametrize(
    ("quirk", "kind", "told"),
    [
        ("filter", "filtered", "content management policy"),
        ("quota", "quota", "exceeded your current quota"),
        ("nomodel", "setting", r"does not exist .*\(check generator\.base_url and generator\.model\)"),
        ("long", "refused", "maximum context length"),
        ("odd", "setting", "I would rather not. .*hydra-ray doctor"),
        ("thinkcut", "empty", "reasoning did not end within max_tokens"),
        ("null", "empty", "there was reasoning and no answer"),
        ("declines", "filtered", "the LLM declined"),
    ],
)
async def test_how_a_request_ends_says_what_was_at_fault(server, quirk, kind, told):
    async with asking(server.url(quirk, "n1"), retries=2) as generator:
        with pytest.raises(GenerateError, match=told) as caught:
            await generator(ChatRequest(TURNS, n=1))
    assert (caught.value.kind, caught.value.transient) == (kind, False)
    assert len(server.asked[f"{quirk}+n1"]) == 1


async def test_a_page_to_sign_in_is_told_by_its_title(server):
    async with asking(server.url("html")) as generator:
        with pytest.raises(GenerateError, match="a page of HTML: Sign in") as caught:
            await generator(ASKED)
    assert caught.value.kind == "malformed"


async def test_an_odd_refusal_of_one_request_is_its_own_where_others_like_it_are_answered(endpoint):
    endpoint.replies = [{"choices": [{"message": {"content": "fine"}}]}, (400, {"error": "I would rather not."})]
    async with asking(endpoint.url) as generator:
        await generator(ChatRequest(TURNS))
        with pytest.raises(GenerateError, match=r"HTTP 400: I would rather not\.$") as caught:
            await generator(ChatRequest(TURNS))
        assert (caught.value.kind, caught.value.final) == ("refused", True)
        # Of this form none was answered.
        with pytest.raises(GenerateError) as caught:
            await generator(ChatRequest(TURNS, temperature=0.7))
        assert (caught.value.kind, caught.value.final) == ("setting", False)


async def test_odd_refusals_of_many_prompts_in_turn_are_no_faults_of_theirs(endpoint):
    is_odd = [False]
    endpoint.replies = [
        lambda body: (400, {"error": "No."}) if is_odd[0] else {"choices": [{"message": {"content": "fine"}}]}
    ]

    async def kind(generator, text):
        with pytest.raises(GenerateError, match="HTTP 400: No") as caught:
            await generator(ChatRequest((Message("user", text),)))
        return caught.value.kind

    async with asking(endpoint.url) as generator:
        for _ in range(2):
            is_odd[0] = False
            await generator(ChatRequest(TURNS))
            is_odd[0] = True
            # One prompt may be refused as often as it has samples.
            kinds = [await kind(generator, str(number // 2)) for number in range(18)]
            assert kinds == ["refused"] * 16 + ["setting"] * 2


@pytest.mark.parametrize("message", ["top_p is not supported", "Unrecognized request argument supplied: top_p"])
async def test_a_parameter_that_was_set_and_is_refused_is_the_settings_fault(endpoint, message):
    endpoint.replies = [(400, {"error": {"message": message}})]
    async with asking(endpoint.url, params={"top_p": 0.5}) as generator:
        with pytest.raises(GenerateError, match=r"set in generator\.params or extra_body: top_p") as caught:
            await generator(ASKED)
    assert (caught.value.kind, len(endpoint.asked), endpoint.asked[0]["top_p"]) == ("setting", 1, 0.5)


async def test_another_endpoint_may_have_another_dialect(server, endpoint):
    endpoint.replies = [(500, {"error": {"message": "down"}})]
    endpoints = [endpoint_at(endpoint.url, "NO"), endpoint_at(server.url("n1", "other"), "NO")]
    bare = openai_generator("m", endpoints, retries=0)
    generator = splitting(bare, bare.most_samples)
    for _ in range(2):
        assert len((await generator(ASKED)).texts) == 4
    await generator.close()
    # The second request knows what the endpoint takes that stands in.
    assert (len(server.asked["n1+other"]), server.refused["n1+other"]) == (9, 1)


async def test_lessons_are_logged_once_with_their_reason(server, caplog):
    caplog.set_level(logging.WARNING)
    async with asking(server.url("n1", "log")) as generator:
        for _ in range(3):
            await generator(ASKED)
    told = [record.message for record in caplog.records if "another form" in record.message]
    assert len(told) == 1
    assert "samples: 1" in told[0]
    assert "number must be at most 1" in told[0]
