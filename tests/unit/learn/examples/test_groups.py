import math
from dataclasses import replace

import pytest
from defaults import own_answer_groups

from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey, RerankerRow
from hydra_ray.learn.examples import groups as made
from hydra_ray.learn.examples.groups import AnswersOfOthers, RankingGroup
from hydra_ray.models.base import ADAPTER, RERANKER
from hydra_ray.records import Source, UserKey
from hydra_ray.tasks import TEXT_TASK, Task

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
STARS = Task(name="stars", kind="rating", labels=("1", "2", "3", "4", "5"))


def rerank_row(item, score_with, score_without=0.0, query="q1", user="ann"):
    key = ExampleKey("acme", user, query, pseudo=False)
    return RerankerRow(key, f"text of {query}", item, f"input of {item}", f"tag of {item}", score_with, score_without)


def adapt_row(candidates, scores, gold="drama", query="q1", votes=None):
    key, votes = ExampleKey("acme", "ann", query, pseudo=False), votes or [1] * len(candidates)
    return AdapterRow(key, "a film", gold, ("comedy", "drama"), tuple(candidates), tuple(votes), tuple(scores))


def feedback_groups(role, rows, task, loss="listwise", seed=0, unsaid=None):
    """Answers that the LLM did not give compete where the set is closed, unless told."""
    if role == RERANKER:
        return made.reranker_groups(rows, loss)
    return made.adapter_groups(rows, task, seed, task.closed if unsaid is None else unsaid)


def answers(group):
    """The candidates of an adapter's group with their scores."""
    return {first: score for (first, _, _), score in zip(group.decisions, group.scores, strict=True)}


def test_items_of_one_query_compete(tag_task):
    rows = [
        rerank_row("a", 1.0),
        rerank_row("b", 0.0),
        rerank_row("c", 0.0, query="q2"),
        rerank_row("d", 0.5, query="q2"),
        rerank_row("e", 1.0, query="q2", user="bob"),
        rerank_row("f", 0.0, query="q2", user="bob"),
    ]
    groups = feedback_groups(RERANKER, rows, tag_task, "listwise", seed=0)
    assert groups[0] == RankingGroup(
        rows[0].key,
        (("tag of a: input of a", "text of q1", ()), ("tag of b: input of b", "text of q1", ())),
        (1.0, 0.0),
        (0.0, -math.log(2)),
    )
    assert [(group.user, group.key.query_id, group.scores) for group in groups] == [
        (ANN, "q1", (1, 0)),
        (ANN, "q2", (0, 0.5)),
        (BOB, "q2", (1, 0)),
    ]


def test_what_is_known_of_an_item_is_its_place_with_the_retriever(tag_task):
    rows = [rerank_row(name, score) for name, score in (("a", 0.0), ("b", 1.0), ("c", 0.0))]
    (asked,) = feedback_groups(RERANKER, rows, tag_task, "listwise", seed=0)
    assert asked.priors == pytest.approx((0, -math.log(2), -math.log(3)))


@pytest.mark.parametrize(
    ("score_with", "score_without", "label"), [(1, 0, 1), (0.5, 0.2, 1), (1, 1, 1), (0.5, 0.5, 0), (0, 0, 0), (0, 1, 0)]
)
def test_with_bce_an_item_is_good_that_helped_or_where_all_was_right(tag_task, score_with, score_without, label):
    # A second item of the other label, so that the group tells something.
    other = rerank_row("b", 0.0, 1.0) if label else rerank_row("b", 1.0, 0.0)
    rows = [rerank_row("a", score_with, score_without), other]
    (group,) = feedback_groups(RERANKER, rows, tag_task, "bce", seed=0)
    assert group.scores == (label, 1 - label)


@pytest.mark.parametrize("loss", ["listwise", "bce"])
def test_items_that_are_equally_good_tell_nothing(tag_task, loss):
    rows = [rerank_row("a", 0.0), rerank_row("b", 0.0), rerank_row("c", 1.0, query="q2")]
    assert feedback_groups(RERANKER, rows, tag_task, loss, seed=0) == []


def test_candidates_compete_with_the_users_own_answer_and_some_labels(tag_task):
    (group,) = feedback_groups(ADAPTER, [adapt_row(["comedy", "sci-fi"], [0.0, 0.0])], tag_task, "listwise", seed=0)
    # The task has fewer labels than are drawn: all of them.
    assert answers(group) == {"comedy": 0, "sci-fi": 0, "drama": 1, "dark comedy": 0}
    assert group.decisions[0] == ("comedy", "a film", ("comedy", "drama"))
    assert group.user == ANN


def test_where_answers_that_the_llm_did_not_give_cannot_be_chosen_they_do_not_teach(tag_task):
    row = adapt_row(["comedy", "drama"], [0.0, 1.0])
    (group,) = feedback_groups(ADAPTER, [row], tag_task, unsaid=False)
    assert answers(group) == {"comedy": 0, "drama": 1}
    assert feedback_groups(ADAPTER, [adapt_row(["comedy", "sci-fi"], [0.0, 0.0])], tag_task, unsaid=False) == []


def test_what_an_llm_said_beside_the_point_does_not_teach_where_allowed_answers_compete(tag_task):
    row = adapt_row(["I think", "blah"], [0.0, 0.0], votes=[6, 2])
    (group,) = feedback_groups(ADAPTER, [row], tag_task)
    assert answers(group) == {"comedy": 0, "sci-fi": 0, "drama": 1, "dark comedy": 0}
    assert group.priors == (0, 0, 0, 0)


def test_what_is_known_of_an_llms_candidate_is_its_share_of_the_votes(tag_task):
    row = adapt_row(["comedy", "sci-fi"], [0.0, 0.0], votes=[6, 2])
    (group,) = feedback_groups(ADAPTER, [row], tag_task, "listwise", seed=0)
    known = dict(zip(answers(group), group.priors, strict=True))
    assert (known["comedy"], known["sci-fi"]) == pytest.approx((math.log(6.1 / 8.1), math.log(2.1 / 8.1)))
    # Answers that the LLM did not give have no votes.
    assert known["drama"] == known["dark comedy"] == pytest.approx(math.log(0.1 / 8.1))
    assert group.key == row.key


def test_what_candidates_come_from_stands_beside_them_and_answers_that_nobody_gave_have_no_votes(tag_task):
    bm25, recent = Source("bm25", 2, greedy=True), Source("recent", 1, greedy=False)
    row = replace(adapt_row(["comedy", "sci-fi"], [0.0, 0.0], votes=[3, 1]), sources=((bm25, recent), (recent,)))
    (group,) = feedback_groups(ADAPTER, [row], tag_task)
    told = dict(zip(answers(group), group.beside, strict=True))
    assert told["comedy"]["greedy:bm25"] == 1
    assert told["comedy"]["votes:recent"] == told["sci-fi"]["votes:recent"] == math.log(1.1 / 2.1)
    assert told["drama"]["votes:bm25"] == told["sci-fi"]["votes:bm25"] == math.log(0.1 / 2.1)
    (of_one_prompt,) = feedback_groups(ADAPTER, [replace(row, sources=())], tag_task)
    assert of_one_prompt == replace(group, beside=())


def test_free_texts_of_the_llm_are_all_known_by_their_votes():
    row = adapt_row(["one title", "two titles", "three"], [0.4, 0.1, 0.2], votes=[1, 2, 1])
    (group,) = feedback_groups(ADAPTER, [row], TEXT_TASK, "listwise", seed=0)
    assert group.priors == pytest.approx((math.log(1.1 / 4.1), math.log(2.1 / 4.1), math.log(1.1 / 4.1)))


def test_of_answers_that_no_llm_was_asked_for_nothing_is_known(tag_task, example, others):
    groups = [*own_answer_groups([example], tag_task, 0, None), *own_answer_groups([example], TEXT_TASK, 0, others)]
    assert [(group.priors, group.key) for group in groups] == [((), example.key)] * 2


def test_of_many_labels_fifteen_are_drawn_for_each_query():
    task = Task(name="many", kind="classification", labels=tuple(f"tag{n}" for n in range(50)))
    row = adapt_row(["tag1", "tag2"], [0.0, 1.0], gold="tag2")
    drawn = [
        feedback_groups(ADAPTER, [replace(row, key=replace(row.key, query_id=query))], task, "listwise", seed)[0]
        for query, seed in (("q1", 0), ("q1", 0), ("q2", 0), ("q1", 1))
    ]
    assert all(15 <= len(group.decisions) <= 17 for group in drawn)
    assert drawn[0] == drawn[1]
    assert len({frozenset(answers(group)) for group in drawn}) == 3
    assert all(score == (answer == "tag2") for answer, score in answers(drawn[0]).items())


def test_a_label_near_the_users_rating_is_not_all_wrong():
    (group,) = feedback_groups(ADAPTER, [adapt_row(["1"], [0.25], gold="4")], STARS, "listwise", seed=0)
    found = answers(group)
    assert found["4"] == 1
    assert all(score == 1 - abs(int(answer) - 4) / 4 for answer, score in found.items())


def test_free_texts_compete_among_themselves_only():
    row = adapt_row(["one title", "two titles"], [0.4, 0.1], gold="the title")
    (group,) = feedback_groups(ADAPTER, [row], TEXT_TASK, "listwise", seed=0)
    assert answers(group) == {"one title": 0.4, "two titles": 0.1}


def test_candidates_that_are_equally_good_or_absent_tell_nothing():
    rows = [adapt_row(["one", "two"], [0.2, 0.2]), adapt_row([], []), adapt_row(["one"], [1.0])]
    assert feedback_groups(ADAPTER, rows, TEXT_TASK, "listwise", seed=0) == []


@pytest.fixture
def example(query, item):
    history = (item("a robot falls", "sci-fi"), item("a king weeps", "drama"), item("a robot weeps", "drama"))
    return Example(query("a robot falls in love"), "drama", history, pseudo=False)


@pytest.fixture
def others(item):
    return AnswersOfOthers(
        [
            (ANN, [item("a robot in love", "mine")]),
            (BOB, [item("a robot in love", "Love, Robot"), item("a robot falls", "Fallen"), item("cats", "Meow")]),
            (UserKey("zeta", "ann"), [item("a robot in love", "Love, Robot")]),
        ]
    )


def test_without_calls_the_users_own_answer_beats_other_labels(tag_task, example):
    (group,) = own_answer_groups([example], tag_task, 0, None)
    assert answers(group) == {"drama": 1, "comedy": 0, "dark comedy": 0, "sci-fi": 0}
    assert group.decisions[0] == ("drama", "a robot falls in love", ("sci-fi", "drama", "drama"))


def test_without_calls_the_adapter_reads_as_much_history_as_the_method_has_it_read(tag_task, example):
    (group,) = own_answer_groups([example], tag_task, 0, None, most_history_answers=1)
    assert group.decisions[0] == ("drama", "a robot falls in love", ("sci-fi",))


def test_without_calls_a_near_rating_is_not_all_wrong(query):
    (group,) = own_answer_groups([Example(query("a review"), "4", (), pseudo=True)], STARS, 0, None)
    assert answers(group) == {"4": 1, "1": 0.25, "2": 0.5, "3": 0.75, "5": 0.75}


def test_without_calls_free_text_competes_with_other_peoples_answers(example, others):
    (group,) = own_answer_groups([example], TEXT_TASK, 0, others)
    assert answers(group) == {"drama": 1, "Love, Robot": 0, "Fallen": 0, "Meow": 0}


def test_another_persons_equal_answer_does_not_spoil_the_users_own(example, item):
    # ROUGE knows Latin words only, so this answer scores 0 even against itself.
    equal = AnswersOfOthers([(BOB, [item("a robot falls", "爱"), item("a robot in love", "love")])])
    (group,) = own_answer_groups([Example(example.query, "爱", example.history, pseudo=False)], TEXT_TASK, 0, equal)
    assert answers(group) == {"爱": 1, "love": 0}


def test_a_user_without_history_teaches_the_adapter_all_the_same(tag_task, query):
    example = Example(query("a film"), "drama", (), pseudo=True)
    assert len(own_answer_groups([example], tag_task, 0, None)) == 1


def test_answers_of_others_are_others_distinct_and_nearest_first(query, others):
    assert others(query("a robot in love"), 2) == ["Love, Robot", "Fallen"]
    assert others(query("a robot in love"), 1) == ["Love, Robot"]
    assert "mine" in others(query("a robot in love", user="carl"), 3)
