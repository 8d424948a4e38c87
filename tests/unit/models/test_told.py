"""What a user's answers tell of a candidate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.models.told import SEPARATOR, log_share
from hydra_ray.steps.texts import adapter_texts

answers = st.lists(st.sampled_from(["drama", "comedy", "sci-fi"]), min_size=1, max_size=30)


def test_the_nearest_answers_count_most():
    # Weights 1, 10/11 and 10/12.
    total = 1 + 10 / 11 + 10 / 12
    assert log_share("drama", "drama | comedy | drama") == pytest.approx(math.log((1 + 10 / 12 + 0.1) / (total + 0.1)))
    assert log_share("comedy", "drama | comedy | drama") == pytest.approx(math.log((10 / 11 + 0.1) / (total + 0.1)))


def test_nobody_who_told_nothing_is_held_to_anything():
    assert log_share("drama", "") == 0


def test_part_of_an_answer_is_another_answer():
    assert log_share("comedy", "dark comedy") == log_share("drama", "dark comedy") == pytest.approx(math.log(0.1 / 1.1))


@given(told=answers)
def test_shares_of_all_answers_add_up_to_one_but_for_the_smoothing(told):
    given_once = dict.fromkeys(told)
    shares = [math.exp(log_share(answer, SEPARATOR.join(told))) for answer in given_once]
    assert 1 <= sum(shares) <= 1 + 0.1 * len(given_once)


@given(told=answers, other=st.sampled_from(["drama", "comedy", "sci-fi"]))
def test_one_more_of_the_same_never_tells_less(told, other):
    before = log_share(other, SEPARATOR.join(told))
    assert log_share(other, SEPARATOR.join([*told, other])) >= before - 1e-12


def test_the_adapters_texts_are_read_as_they_are_written():
    judged, _, told = adapter_texts("drama", "A dog barks.", ["comedy", "drama"])
    assert log_share(judged, told) > log_share("sci-fi", told)
