"""What a client wishes of the LLM, over real HTTP: sent where it is taken, and named where it is not."""

from dataclasses import replace

import pytest
from quirky_asking import ASKED, asking

from hydra_ray.records import Sampling
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.endpoint.dialect import lessons
from hydra_ray.steps.generate.endpoint.refusal import Refusal

WISHED = replace(ASKED, sampling=Sampling(top_p=0.5, stop=("END",), response_format='{"type": "json_object"}'))


@pytest.mark.parametrize(
    ("quirks", "ignored", "refused"),
    [
        ([], (), 0),
        (["nostop"], ("stop",), 1),
        (["noformat", "nostop"], ("stop", "response_format"), 2),
        (["nostop", "noseed", "temp1"], ("stop", "temperature", "seed"), 3),
    ],
)
async def test_what_a_client_wishes_is_sent_where_it_is_taken_and_named_where_it_is_not(
    server, quirks, ignored, refused, tmp_path
):
    name = "+".join(quirks) or "plain"
    before = server.refused[name]
    for _ in range(2):
        # What was learnt is kept for later commands.
        async with asking(server.url(*quirks), file=tmp_path / "dialects.json") as generator:
            answer = await generator(WISHED)
        sent = server.asked[name][-1]
        wanted = WISHED.sampling.parameters()
        assert {name: sent.get(name) for name in wanted} == {**wanted, **{n: None for n in ignored if n in wanted}}
        assert answer.ignored == ignored
    assert server.refused[name] - before == refused


async def test_a_value_that_is_refused_is_its_senders_fault_and_teaches_nothing(server):
    async with asking(server.url("badschema")) as generator:
        for request in (ASKED, WISHED, WISHED):
            if request is ASKED:
                await generator(request)
                continue
            with pytest.raises(GenerateError, match="minLength") as caught:
                await generator(request)
            assert caught.value.kind == "refused"
        assert (await generator(ASKED)).ignored == ()


async def test_a_client_goes_before_what_is_set_for_all(server):
    async with asking(server.url(), params={"top_p": 0.9, "logprobs": False}) as generator:
        await generator(WISHED)
    sent = server.asked["plain"][-1]
    assert (sent["top_p"], sent["logprobs"]) == (0.5, False)


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (
            "Unsupported value: 'minimal' is not supported with this model. Supported values are: 'low' and 'high'.",
            {"reasoning_effort": "minimal"},
        ),
        ("Unsupported value: 'verbosity' does not support 'low' with this model.", {"verbosity": "low"}),
        (
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            {"response_format": {"type": "json_schema"}},
        ),
    ],
)
def test_a_value_that_a_model_does_not_take_teaches_nothing_of_the_parameter(message, sent):
    assert lessons(Refusal(400, message), {"messages": [], **sent}) == {}
