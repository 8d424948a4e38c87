"""What words alone tell of a candidate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.models.lexical import LEXICAL, lexical_features, log_share
from hydra_ray.steps.texts import adapter_texts

answers = st.lists(st.sampled_from(["drama", "comedy", "sci-fi"]), min_size=1, max_size=30)
words = st.lists(st.sampled_from(["a", "red", "fox", "Runs", "home"]), max_size=8).map(" ".join)


def equal(judged, told):
    return lexical_features(judged, "", told)[0]


def alike(judged, told):
    return lexical_features(judged, "", told)[1]


def grounded(judged, query):
    return lexical_features(judged, query, ())[2]


def test_the_nearest_answers_count_most():
    # Weights 1, 10/11 and 10/12.
    total = 1 + 10 / 11 + 10 / 12
    assert equal("drama", ("drama", "comedy", "drama")) == pytest.approx(math.log((1 + 10 / 12 + 0.1) / (total + 0.1)))
    assert equal("comedy", ("drama", "comedy", "drama")) == pytest.approx(math.log((10 / 11 + 0.1) / (total + 0.1)))


def test_nobody_who_told_nothing_is_held_to_anything():
    assert lexical_features("drama", "", ()) == (0, 0, 0)


def test_part_of_an_answer_is_another_answer_but_like_it():
    assert equal("comedy", ["dark comedy"]) == equal("drama", ["dark comedy"]) == pytest.approx(math.log(0.1 / 1.1))
    # One of one word and one of two are shared: F1 is 2 / 3.
    assert alike("comedy", ["dark comedy"]) == pytest.approx(math.log((2 / 3 + 0.1) / 1.1))
    assert alike("drama", ["dark comedy"]) == equal("drama", ["dark comedy"])


def test_alike_is_by_words_however_they_are_written():
    assert alike("The fox, again!", ["again: the FOX"]) == pytest.approx(0)
    # "the the" and "the": one shared of two and one.
    assert alike("the the", ["the"]) == pytest.approx(math.log((2 / 3 + 0.1) / 1.1))


def test_grounded_is_the_share_of_words_that_stand_in_the_query():
    assert grounded("a fox sleeps", "Where is a red fox?") == pytest.approx(2 / 3)
    assert (grounded("fox fox dog", "fox"), grounded("", "fox"), grounded("!?", "fox")) == (pytest.approx(2 / 3), 0, 0)


@pytest.mark.parametrize("answer", ["tea | coffee", " | ", "a |", "| b"])
def test_an_answer_with_a_bar_equals_itself(answer):
    assert equal(answer, [answer]) == 0
    assert equal(answer, [answer, "other"]) > equal("other", [answer, "other"])


def test_parts_of_an_answer_are_no_answers():
    assert equal("tea", ["tea | coffee"]) == pytest.approx(math.log(0.1 / 1.1))


@pytest.mark.parametrize("text", ["好的，没问题", "大丈夫です", "ได้ครับ", "कोई बात नहीं", "مَرْحَبًا بك", "👍🏽🎉", "C++"])
def test_words_tell_in_any_language(text):
    assert alike(text, [text]) == 0
    assert alike(text, [f"{text} x"]) < 0
    assert grounded(text, f"... {text}!") == 1
    assert alike("y", [text]) == pytest.approx(math.log(0.1 / 1.1))


def test_who_writes_c_does_not_write_c_plus_plus():
    assert math.log(0.1 / 1.1) < alike("C", ["C++"]) < 0


@given(told=answers)
def test_shares_of_all_answers_add_up_to_one_but_for_the_smoothing(told):
    given_once = dict.fromkeys(told)
    shares = [math.exp(equal(answer, told)) for answer in given_once]
    assert 1 <= sum(shares) <= 1 + 0.1 * len(given_once)


@given(told=answers, other=st.sampled_from(["drama", "comedy", "sci-fi"]))
def test_one_more_of_the_same_never_tells_less(told, other):
    before = equal(other, told)
    assert equal(other, [*told, other]) >= before - 1e-12


@given(judged=words, query=words, told=st.lists(words, max_size=5))
def test_all_numbers_are_small_and_equal_texts_are_alike(judged, query, told):
    numbers = lexical_features(judged, query, told)
    assert len(numbers) == LEXICAL
    assert -6 < numbers[0] <= numbers[1] + 1e-9 <= 1e-9 or not judged, "what is the same is alike, but for no words"
    assert 0 <= numbers[2] <= 1


def test_a_vote_for_nobody_is_a_little_of_one():
    assert log_share(8, 8) == 0
    assert log_share(0, 8) == pytest.approx(math.log(0.1 / 8.1))
    assert log_share(0, 0) == 0


def test_the_adapters_texts_are_read_as_they_are_written():
    judged, by, told = adapter_texts("drama", "A dog barks.", ["comedy", "drama"])
    assert equal(judged, told) > equal("sci-fi", told)
    assert grounded("a dog", by) == 1
