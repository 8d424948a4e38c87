"""What each verdict says of the texts on offer."""

from dataclasses import replace

import pytest
from defaults import own_answer_groups

from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.examples.feedback_events import event_group, rejected_group
from hydra_ray.records import HistoryItem, Query, UserKey
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.tasks import TEXT_TASK

ANN = UserKey("acme", "ann")
STARS = replace(TEXT_TASK, kind="rating", labels=("1", "2", "3", "4", "5"))


def event(said, text, *candidates):
    return FeedbackEvent("7", "a heist on the moon", said, text, candidates)


def scores(task, event):
    """How good each text is; None where nothing can be learnt."""
    group = event_group(ANN, event, ("drama",), task, seed=3)
    return None if group is None else dict(zip([texts[0] for texts in group.decisions], group.scores, strict=True))


def test_what_was_accepted_is_preferred_to_all_else_on_offer():
    found = scores(TEXT_TASK, event("accepted", "a red sea", "a sea", "a red sea", "a hill"))
    assert found == {"a red sea": 1, "a sea": 0, "a hill": 0}


def test_it_need_not_be_listed_among_the_candidates():
    assert scores(TEXT_TASK, event("accepted", "a red sea", "a hill")) == {"a red sea": 1, "a hill": 0}


def test_candidates_are_as_good_as_they_are_near_to_what_was_made_of_them():
    found = scores(TEXT_TASK, event("edited", "a red sea", "a blue sea", "two hills"))
    assert found["a red sea"] == 1 > found["a blue sea"] > found["two hills"] == 0


def test_what_was_rejected_is_worse_than_all_else_on_offer():
    found = scores(TEXT_TASK, event("rejected", "a hill", "a sea", "a hill", "a red sea"))
    assert found == {"a hill": 0, "a sea": 1, "a red sea": 1}


def test_a_text_that_is_offered_twice_counts_once():
    assert scores(TEXT_TASK, event("accepted", "sea", "hill", "hill", "sea")) == {"sea": 1, "hill": 0}


@pytest.mark.parametrize("said", ["accepted", "edited", "rejected"])
def test_free_text_alone_tells_nothing(said):
    assert scores(TEXT_TASK, event(said, "a red sea")) is None
    assert scores(TEXT_TASK, event(said, "a red sea", "a red sea")) is None


def test_an_edit_that_every_candidate_equals_word_by_word_tells_nothing():
    assert scores(TEXT_TASK, event("edited", "a red sea.", "a red sea")) is None


@pytest.mark.parametrize("said", ["accepted", "edited"])
@pytest.mark.parametrize("offered", [(), ("drama",)])
def test_where_answers_are_closed_others_stand_in_as_they_do_for_history(tag_task, said, offered):
    group = event_group(ANN, event(said, "drama", *offered), ("comedy",), tag_task, seed=3)
    before = (HistoryItem("1", "a heist", "comedy"),)
    example = Example(Query("7@pseudo", ANN, "a heist on the moon"), "drama", before, pseudo=True)
    assert [group] == own_answer_groups([example], tag_task, 3, None)
    assert set(group.scores) == {0.0, 1.0}


def test_any_other_label_is_better_than_the_rejected_one(tag_task):
    found = scores(tag_task, event("rejected", "drama"))
    assert found == {"drama": 0, "comedy": 1, "dark comedy": 1, "sci-fi": 1}


def test_labels_that_stand_in_are_as_good_as_they_are_near():
    """Nobody saw them, so nothing is known of them but the scale."""
    assert scores(STARS, event("accepted", "4")) == {"4": 1, "5": 0.75, "3": 0.75, "2": 0.5, "1": 0.25}
    assert scores(STARS, event("accepted", "4", "5", "1")) == {"4": 1, "5": 0, "1": 0}


def test_the_group_reads_as_the_method_asks(tag_task):
    group = event_group(ANN, event("accepted", "drama", "comedy"), ("sci-fi", "drama"), tag_task, seed=3)
    assert group.decisions == (
        ("drama", "a heist on the moon", ("sci-fi", "drama")),
        ("comedy", "a heist on the moon", ("sci-fi", "drama")),
    )
    assert (group.user, group.key.item_id) == (ANN, "7")


def test_only_what_was_preferred_becomes_history():
    assert replace(event("edited", "sea"), ts="2026").item == HistoryItem("7", "a heist on the moon", "sea", "2026")
    assert event("accepted", "sea").item == HistoryItem("7", "a heist on the moon", "sea")
    assert event("rejected", "sea").item is None


@pytest.mark.parametrize("task", [TEXT_TASK, STARS])
def test_a_rejected_answer_of_records_teaches_what_the_event_would_that_takes_the_other(task):
    query = Query("7@pseudo", ANN, "a heist on the moon")
    group = rejected_group(Example(query, "4", (), pseudo=True), "2", ("drama",), task, seed=3)
    assert group == event_group(ANN, event("accepted", "4", "4", "2"), ("drama",), task, seed=3)
    assert group.scores == (1, 0)


def test_answers_that_the_task_reads_alike_tell_nothing():
    query = Query("7@pseudo", ANN, "a heist on the moon")
    assert rejected_group(Example(query, "4", (), pseudo=True), " 4 ", (), STARS, seed=3) is None
