import math

import pytest

from hydra_ray.records import Candidate
from hydra_ray.steps.vote import consensus
from hydra_ray.tasks import TASKS, TEXT_TASK


def texts(candidates):
    return [candidate.text for candidate in candidates]


def made(*votes):
    return [Candidate(text, count, order) for order, (text, count) in enumerate(votes)]


def test_of_classes_the_majority_comes_first(tag_task):
    assert texts(consensus(tag_task, made(("drama", 2), ("comedy", 5), ("sci-fi", 1)))) == ["comedy", "drama", "sci-fi"]


def test_of_ratings_the_median_comes_first():
    # A majority would answer 1; half of the samples are 3 or more.
    assert texts(consensus(TASKS["LaMP_3"], made(("1", 3), ("3", 2), ("5", 2))))[0] == "3"


def test_of_texts_the_one_most_like_the_others_comes_first():
    offered = made(("zebra", 2), ("robots in love", 1), ("two robots in love", 1), ("old robots in love", 1))
    assert texts(consensus(TEXT_TASK, offered))[0] == "robots in love"


def test_ties_go_to_the_one_sampled_first(tag_task):
    offered = made(("drama", 2), ("comedy", 2), ("sci-fi", 2))
    assert texts(consensus(tag_task, offered)) == ["drama", "comedy", "sci-fi"]
    assert texts(consensus(tag_task, offered[::-1])) == ["drama", "comedy", "sci-fi"]


def test_what_the_task_cannot_read_is_ordered_by_votes(tag_task):
    assert texts(consensus(tag_task, made(("dunno", 1), ("no idea", 3)))) == ["no idea", "dunno"]


def test_scores_are_log_shares_of_votes(tag_task):
    assert [c.score for c in consensus(tag_task, made(("drama", 3), ("comedy", 1)))] == pytest.approx(
        [math.log(0.75), math.log(0.25)]
    )


def test_no_candidates_stay_none(tag_task):
    assert consensus(tag_task, []) == ()
