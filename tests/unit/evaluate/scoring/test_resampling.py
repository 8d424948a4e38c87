import math
import random

import numpy as np
import pytest
from made_runs import STARS, TAGS, TITLES, judged, run

from hydra_ray.evaluate.scoring.resampling import Samples, recover_weight
from hydra_ray.records import Candidate
from hydra_ray.steps.decide import by_expected_score


def chosen(candidates, n, samples, task=TAGS, **how):
    """How often each is chosen, all allowed answers competing if `allowed_answers` says so."""
    return Samples.of(candidates, task, run("hydra", [], task, **how)).chosen(n, samples, np.random.default_rng(0))


@pytest.fixture
def many_draws(monkeypatch):
    monkeypatch.setattr("hydra_ray.evaluate.scoring.resampling.DRAWS", 20_000)


# Two samples say comedy, one drama; the adapter prefers drama, by less than two votes to one weigh thrice.
OFFERED = judged(comedy=(2, 0.0), drama=(1, 1.0))


@pytest.mark.usefixtures("many_draws")
def test_every_draw_by_hand():
    assert chosen(OFFERED, 1, 3) == pytest.approx([2 / 3, 1 / 3, 0], abs=0.02)
    # Both comedy (one pair of three), else one of each: the votes are even, and the logit decides.
    assert chosen(OFFERED, 2, 3) == pytest.approx([1 / 3, 2 / 3, 0], abs=0.02)
    # log(2.1 / 3.1) < 1 + log(1.1 / 3.1)
    assert chosen(OFFERED, 3, 3).tolist() == [0, 1, 0]


@pytest.mark.usefixtures("many_draws")
def test_samples_that_gave_no_candidate_are_drawn_too():
    assert chosen(OFFERED, 1, 4) == pytest.approx([2 / 4, 1 / 4, 1 / 4], abs=0.02)
    # Pairs of c, c, d and nothing: cc; cd and cd; c and c with nothing; d with nothing.
    assert chosen(OFFERED, 2, 4) == pytest.approx([3 / 6, 3 / 6, 0], abs=0.02)


@pytest.mark.usefixtures("many_draws")
def test_where_all_allowed_answers_compete_each_can_be_chosen_whatever_is_drawn():
    offered, all_of_them = judged(comedy=(2, 0.0), drama=(0, 2.7)), {"allowed_answers": 4}
    # 2.7 + log(0.1 / 1.1) > 0 > 2.7 + log(0.1 / 2.1)
    assert chosen(offered, 1, 2, **all_of_them).tolist() == [0, 1, 0]
    assert chosen(offered, 2, 2, **all_of_them).tolist() == [1, 0, 0]
    # Of four samples two gave no candidate; without any vote the logits decide.
    offered = judged(comedy=(2, 0.0), drama=(0, 1.0))
    assert chosen(offered, 1, 4, **all_of_them) == pytest.approx([1 / 2, 1 / 2, 0], abs=0.02)


@pytest.mark.usefixtures("many_draws")
@pytest.mark.parametrize(("allowed", "drama"), [(0, 1 / 4), (3, 1 / 4), (4, 1)])
def test_an_answer_that_was_not_drawn_wins_only_where_all_compete(allowed, drama):
    # Samples gave every label, which tells nothing of who may compete.
    offered = judged(**{label: (1, 9.0 * (label == "drama")) for label in TAGS.labels})
    assert chosen(offered, 1, 4, allowed_answers=allowed)[3] == pytest.approx(drama, abs=0.02)


def test_the_vote_weighs_as_it_did_in_the_stored_scores():
    heavy = judged(3.0, comedy=(2, 0.0), drama=(1, 1.0))

    assert chosen(heavy, 3, 3, vote_weight=1.0).tolist() == [1, 0, 0]


def test_the_stored_weight_is_found_again():
    stored = [
        Candidate(c.text, c.votes, c.order, np.float32(c.logit), np.float32(c.score))
        for c in judged(0.7, a=(5, 1.3), b=(3, -2.0))
    ]

    assert recover_weight(stored, default=9.0) == pytest.approx(0.7, abs=1e-5)
    assert recover_weight(judged(0.7, a=(8, 1.3)), default=9.0) == 9.0
    assert recover_weight([Candidate("a", 2), Candidate("b", 1)], default=9.0) == 9.0
    # A candidate without votes tells it too, unless none has any.
    assert recover_weight(judged(0.7, a=(8, 1.3), b=(0, 2.0)), default=9.0) == pytest.approx(0.7)
    assert recover_weight(judged(0.7, a=(0, 1.3), b=(0, 2.0)), default=9.0) == 9.0


def test_without_an_adapter_the_most_votes_choose_and_the_first_of_equals():
    unjudged = [Candidate("drama", 1, 1), Candidate("comedy", 1, 0), Candidate("sci-fi", 3, 2)]

    assert chosen(unjudged, 5, 5).tolist() == [0, 0, 1, 0]
    assert chosen(unjudged[:2], 2, 2).tolist() == [1, 0, 0], "sampled first"


@pytest.mark.parametrize("how", [{}, {"allowed_answers": 4}, {"allowed_answers": 4, "expected": True}])
def test_no_candidates_are_no_answer(how):
    assert chosen([], 2, 8, **how).tolist() == [1]


def test_the_expected_score_decides_where_it_did():
    # Preferred by 0.4, 0.25 and 0.35; but a rating between the others is never far off.
    offered = judged(0.0, **{"1": (1, math.log(0.4)), "3": (1, math.log(0.25)), "5": (1, math.log(0.35))})

    assert chosen(offered, 3, 3, STARS, expected=False).tolist() == [1, 0, 0, 0]
    assert chosen(offered, 3, 3, STARS, expected=True).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("task", [TAGS, STARS, TITLES], ids=lambda task: task.kind)
def test_with_all_samples_the_choice_is_that_of_the_step(task):
    rng = random.Random(0)
    texts = task.labels or ("a red fox", "a red hen", "the hen", "one fox runs")
    for _ in range(30):
        # Free text that nobody said is no candidate.
        votes = [rng.randint(0 if task.closed else 1, 4) for _ in texts]
        offered = judged(0.8, **{text: (count, rng.gauss(0, 1)) for text, count in zip(texts, votes, strict=True)})
        best = by_expected_score(task, offered)[0]

        shares = chosen(offered, sum(votes), sum(votes), task, expected=True, allowed_answers=5)

        assert shares.argmax() == best.order
