"""From the completion log to numbers: what counts as what."""

import numpy as np
import pytest
from logged_completions import completion

from hydra_ray.experiment.compare import compare
from hydra_ray.experiment.logged import Logged
from hydra_ray.steps.generate.prices import Prices
from hydra_ray.store.completions.records import GateOutcome, Statement


def measured(statement, scale="thumbs", **more):
    logged = Logged("spring", scale, Prices(2, 10))
    logged.add([completion(1, "ann", statement=statement, **more)])
    return {name: column[0] for name, column in logged.observed().values.items()}


@pytest.mark.parametrize(
    ("statement", "became"),
    [
        (None, (0, 0, 0, 0)),
        (Statement("accepted"), (1, 0, 0, 1)),
        (Statement("edited", edited="See you."), (0, 1, 0, 1)),
        (Statement("rejected"), (0, 0, 1, 1)),
        (Statement("regenerated"), (0, 0, 1, 1)),
        (Statement(rating=1), (1, 0, 0, 1)),
        (Statement(rating=-1), (0, 0, 1, 1)),
        (Statement("rejected", rating=1), (0, 0, 1, 1)),
        (Statement("accepted", chosen=0), (1, 0, 0, 1)),
        (Statement("accepted", chosen=1), (0, 0, 1, 1)),
    ],
)
def test_what_became_of_an_answer(statement, became):
    found = measured(statement)
    assert tuple(found[name] for name in ("accepted", "edited", "rejected", "rated")) == became


def test_silence_is_no_part_of_what_was_taken_of_what_was_rated():
    assert "accepted_of_rated" not in measured(None)
    assert measured(Statement("edited", edited="Bye"))["accepted_of_rated"] == 0
    # Three stars say neither.
    assert "accepted_of_rated" not in measured(Statement(rating=3), scale="stars")


@pytest.mark.parametrize(("stars", "rating"), [(1, -1), (2, -0.5), (3, 0), (5, 1)])
def test_stars_lie_on_the_scale_of_thumbs(stars, rating):
    assert measured(Statement(rating=stars), scale="stars")["rating"] == rating


def test_an_edit_is_measured_from_the_candidate_that_was_edited():
    assert measured(Statement("edited", edited="See you there, Ann"))["edit_distance"] == 0.5
    assert measured(Statement("edited", edited="Bye.", chosen=1))["edit_distance"] == 0
    assert "edit_distance" not in measured(Statement("edited", edited="Bye."), candidates=())


def test_tokens_seconds_and_cost_are_those_of_the_completion():
    found = measured(None)
    assert (found["tokens"], found["seconds"]) == (1000, 0.25)
    assert found["cost"] == pytest.approx(900 * 2e-6 + 100 * 10e-6)
    free = Logged("spring", "thumbs", Prices(0, 0))
    free.add([completion(1, "ann")])
    assert "cost" not in free.observed().values


def test_the_share_that_passed_the_gate_is_of_those_that_it_was_asked_about():
    logged = Logged("spring", "thumbs", Prices(0, 0))
    logged.add([completion(1, "ann", gate=GateOutcome("hydra", 0.2, 0.1)), completion(2, "ann")])
    logged.add([completion(3, "ann", gate=GateOutcome("vote", 0.2, -0.1)), completion(4, "bob", arm="spring/rag")])
    passed = logged.observed().values["passed_gate"]
    assert passed[[0, 2]].tolist() == [1, 0]
    assert np.isnan(passed[[1, 3]]).all()
    # The arm that no gate was asked in has no figure.
    reports, _ = compare(logged.observed(), "new", 0.1, 100, 0)
    assert [[one.value.value for one in arm.figures if one.measure == "passed_gate"] for arm in reports] == [[0.5], []]


def test_what_is_of_no_arm_of_the_experiment_or_of_nobody_is_left_out():
    logged = Logged("spring", "thumbs", Prices(0, 0))
    logged.add(
        [
            completion(1, "ann", propensity=0.2, created_s=2000.0),
            completion(2, None),
            completion(3, "ann", arm=None),
            completion(4, "ann", arm="autumn/new"),
            completion(5, "bob", arm="spring/holdout", created_s=1500.0),
            completion(6, "ann", tenant="zeta"),
        ]
    )
    observed = logged.observed()
    assert observed.arms.tolist() == ["new", "holdout", "new"]
    # Users of the same name in two tenants are two.
    assert observed.users.tolist() == [0, 1, 2]
    assert observed.propensities.tolist() == [0.2, 0.5, 0.5]
    assert logged.first_s == 1000.0


def test_nothing_logged_is_no_rows():
    observed = Logged("spring", "thumbs", Prices(0, 0)).observed()
    assert len(observed) == 0
    assert observed.values == {}


def test_what_only_the_llm_can_answer_is_left_out_of_every_arm_and_counted():
    logged = Logged("spring", "thumbs", Prices(0, 0))
    passed = {"method": "passthrough", "candidates": ()}
    logged.add(
        [
            completion(1, "ann", passed_for="form", created_s=10.0, **passed),
            completion(2, "ann"),
            # An arm that passes everything through has the same requests compared, and leaves out the same ones.
            completion(3, "bob", arm="spring/raw", passed_for="method", **passed),
            completion(4, "bob", arm="spring/raw", passed_for="form", **passed),
            completion(5, "eve", arm="autumn/raw", passed_for="form", **passed),
        ]
    )
    assert logged.observed().arms.tolist() == ["new", "raw"]
    assert logged.left_out == {"new": 1, "raw": 1}
    assert logged.first_s == 1000.0
