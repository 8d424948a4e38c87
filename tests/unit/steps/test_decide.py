"""From preferences to the answer."""

import math
import re

import pytest

from hydra_ray.records import Candidate
from hydra_ray.steps.decide import by_expected_score
from hydra_ray.tasks import TASKS, TEXT_TASK

RATING = TASKS["LaMP_3"]


def preferred(**probabilities):
    """Candidates whose softmaxed scores are these probabilities; names of ratings begin with a letter."""
    return [Candidate(re.sub("^r(?=[1-5])", "", text), score=math.log(p) + 3) for text, p in probabilities.items()]


def order(task, candidates):
    return [candidate.text for candidate in by_expected_score(task, candidates)]


def test_of_classes_the_most_probable_comes_first(tag_task):
    assert order(tag_task, preferred(drama=0.3, comedy=0.5, **{"sci-fi": 0.2})) == ["comedy", "drama", "sci-fi"]


def test_of_ratings_the_median_comes_first():
    # 1 is the most probable single answer, but 4 is nearer to all that the user may give.
    assert order(RATING, preferred(r1=0.4, r4=0.35, r5=0.25))[0] == "4"


def test_of_texts_the_one_most_like_the_others_comes_first():
    texts = preferred(**{"a graph of words": 0.35, "a graph of many words": 0.33, "on parsing": 0.32})
    assert order(TEXT_TASK, texts)[:2] == ["a graph of words", "a graph of many words"]
    sure = preferred(**{"a graph of words": 0.1, "a graph of many words": 0.1, "on parsing": 0.8})
    assert order(TEXT_TASK, sure)[0] == "on parsing"


def test_equal_expectations_are_ordered_by_preference(tag_task):
    # Neither is an allowed answer: both are expected to score nothing.
    assert order(tag_task, preferred(western=0.4, romance=0.6)) == ["romance", "western"]


@pytest.mark.parametrize("task", [RATING, TEXT_TASK], ids=lambda task: task.name)
def test_scores_far_apart_are_no_overflow(task):
    candidates = [Candidate("4", score=2000.0), Candidate("1", score=-2000.0)]
    assert order(task, candidates) == ["4", "1"]


def test_nothing_to_order_is_nothing():
    assert by_expected_score(RATING, []) == []
