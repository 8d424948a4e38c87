"""hydra gives the answer that the gate says; hydra-ungated its own choice."""

from dataclasses import replace

import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports
from hydra_ray.records import Choice, GateDecision, Ranked, Sampling, UserKey, Wishes

ANN = UserKey("acme", "ann")
PLAIN = GateDecision("vote", "comedy", 0.1, -0.2)
OWN = GateDecision("hydra", "sci-fi", 0.3, 0.1)


@pytest.fixture
def answer(scripted, tag_task, query, item):
    """What a method answers where the adapter prefers "sci-fi", and the gate decides so."""

    async def ask(name, decision, **wishes):
        async def retrieve(query, k, by):
            return [Ranked(item("A king weeps.", "drama"), 1.0)]

        async def rerank(query, ranked, head):
            return list(ranked)

        async def adapt(query, candidates, history_answers, head):
            ordered = sorted(candidates, key=lambda c: (c.text != "sci-fi", c.order))
            return Choice(tuple(ordered), personal=True, gate=decision)

        llm = scripted(lambda _: ["comedy", "drama"])
        method = METHODS[name](Ports(retrieve, rerank, llm, adapt), prompter(tag_task), recipe())
        return await method(replace(query("A dog barks."), wishes=Wishes(**wishes)), ANN)

    return ask


@pytest.mark.parametrize(
    ("name", "decision", "text"),
    [
        ("hydra", PLAIN, "comedy"),
        ("hydra", OWN, "sci-fi"),
        ("hydra", None, "sci-fi"),
        ("hydra-ungated", PLAIN, "sci-fi"),
        ("hydra-adapter", PLAIN, "sci-fi"),
    ],
)
async def test_a_plain_answer_is_given_where_the_gate_says_so(answer, name, decision, text):
    found = await answer(name, decision)
    assert (found.text, found.candidates[0].text) == (text, text)
    assert {one.text for one in found.candidates} >= {"comedy", "drama", "sci-fi"}
    assert found.gate == (decision if name == "hydra" else None)


async def test_answers_in_a_form_of_the_clients_are_not_gated(answer):
    found = await answer("hydra", PLAIN, sampling=Sampling(response_format='{"type": "json_object"}'))
    assert found.gate is None
