"""Which answer the gate gives, and what it knows of a request."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hydra_ray.models.gate_fit import fit_gate
from hydra_ray.records import Candidate, Source
from hydra_ray.steps.adapt import AdaptRequest
from hydra_ray.steps.gating import FEATURES, Gating, gate_features, plain_answers
from hydra_ray.tasks import TASKS

STARS = TASKS["LaMP_3"]


def said(text, votes, order, score=0.0, *, greedy=False, prompt=""):
    sources = (Source(prompt, votes, greedy),) if votes else ()
    return Candidate(text, votes, order, logit=score, score=score, sources=sources)


@pytest.fixture
def candidates():
    """hydra prefers 5, which nobody said; the LLM says 3 at temperature 0, and 2 in most samples."""
    return [said("5", 0, 2, 2.0), said("3", 1, 0, 1.0, greedy=True), said("2", 7, 1, 0.0)]


@pytest.fixture
def ask(query, candidates):
    return AdaptRequest(query("Good?"), tuple(candidates), ("5", "5", "4"))


def gate(plain="vote", mean=0.0, bar=0.0):
    closed = fit_gate([], plain, FEATURES, caution=0.9, least_users=2, among=0)
    return replace(closed, weights=np.array([mean, *np.zeros(len(FEATURES))]), bar=bar)


def test_plain_answers_are_the_greedy_one_and_the_vote(candidates):
    assert {name: one.text for name, one in plain_answers(STARS, candidates).items()} == {"vote": "2", "greedy": "3"}


def test_each_of_several_prompts_has_plain_answers_of_its_own():
    both = (Source("recent", 2, greedy=True), Source("bm25", 1, greedy=False))
    candidates = [
        Candidate("4", 3, 0, sources=both),
        said("2", 5, 1, prompt="bm25", greedy=True),
        said("1", 1, 2, prompt="recent"),
    ]
    found = {name: one.text for name, one in plain_answers(STARS, candidates).items()}
    assert found == {
        "vote": "2", "recent-vote": "4", "recent-greedy": "4", "bm25-vote": "2", "bm25-greedy": "2", "greedy": "4"
    }  # fmt: skip


def test_of_several_prompts_greedy_is_what_their_greedy_answers_agree_on():
    def by(*prompts, greedy):
        return tuple(Source(prompt, 1, greedy) for prompt in prompts)

    candidates = [
        Candidate("1", 5, 0, sources=(Source("recent", 5, greedy=True),)),
        Candidate("4", 2, 1, sources=by("bm25", "zero-shot", greedy=True)),
        Candidate("5", 1, 2, sources=by("bm25", greedy=False)),
    ]
    found = plain_answers(STARS, candidates)
    assert (found["vote"].text, found["greedy"].text) == ("1", "4")
    assert found["greedy"].votes == 2


def test_what_nobody_said_is_no_plain_answer(ask):
    nobody = [said("5", 0, 0, 1.0), said("2", 0, 1)]
    assert plain_answers(STARS, nobody) == {}
    assert Gating(gate(), STARS)(ask, nobody) is None


@pytest.mark.parametrize(
    ("gain", "bar", "answered", "text"),
    [(0.2, 0.0, "hydra", "5"), (0.2, 0.3, "vote", "2"), (-0.1, 0.0, "vote", "2"), (0.0, 0.0, "vote", "2")],
)
def test_the_choice_is_given_where_its_gain_is_above_the_bar(ask, candidates, gain, bar, answered, text):
    decision = Gating(gate(mean=gain, bar=bar), STARS)(ask, candidates)
    assert (decision.answered, decision.text, decision.gain) == (answered, text, gain)


def test_a_closed_gate_gives_the_plain_answer_that_training_found_best(ask, candidates):
    decision = Gating(fit_gate([], "greedy", FEATURES, caution=0.9, least_users=20, among=0), STARS)(ask, candidates)
    assert (decision.answered, decision.text) == ("greedy", "3")


def test_where_both_say_the_same_there_is_nothing_to_gain(ask, candidates):
    decision = Gating(gate(mean=0.5), STARS)(ask, [candidates[2], *candidates[:2]])
    assert (decision.answered, decision.text, decision.gain, decision.low) == ("vote", "2", 0.0, 0.0)


def test_a_plain_answer_that_is_not_there_is_replaced_by_the_vote(ask, candidates):
    decision = Gating(gate(plain="recent-greedy", mean=-1.0), STARS)(ask, candidates)
    assert (decision.answered, decision.text) == ("vote", "2")


def test_features_are_of_the_choice_beside_the_plain_answer(ask, candidates):
    found = dict(zip(FEATURES, gate_features(STARS, ask, candidates, candidates[2]), strict=True))
    shares = np.exp([2.0, 1.0, 0.0]) / np.exp([2.0, 1.0, 0.0]).sum()
    assert found["preference"] == 2.0
    assert found["probability"] == pytest.approx(shares[0])
    expected = [
        sum(share * STARS.score(text, one.text) for share, one in zip(shares, candidates, strict=True))
        for text in ("5", "2")
    ]
    assert found["expected_score"] == pytest.approx(expected[0] - expected[1])
    assert found["votes"] == pytest.approx(math.log(0.1 / 8.1) - math.log(7.1 / 8.1))
    assert (found["said"], found["agreement"], found["own_head"]) == (0.0, 7 / 8, 0.0)
    assert found["alike"] == STARS.score("5", "2")
    assert found["past_equal"] > 0
    assert found["history"] == pytest.approx(math.log(4))
