import math

import pytest
import torch

from hydra_ray.models.heads import Head
from hydra_ray.records import Ranked
from hydra_ray.steps.rerank import Reranker, RerankRequest


def ids(ranked):
    return [r.item.id for r in ranked]


def test_the_most_useful_items_come_first_with_the_rerankers_score(judge, query, item):
    found = (Ranked(item("a"), 9.0), Ranked(item("b"), 8.0), Ranked(item("c"), 7.0))
    (order,) = Reranker(judge(-1.0, 2.0, 0.5), rank_weight=0)([RerankRequest(query("q"), found)])
    assert [(r.item.id, r.score) for r in order] == [("b", 2.0), ("c", 0.5), ("a", -1.0)]


def test_the_retrievers_order_is_a_prior_to_the_logit(judge, query, item):
    found = tuple(Ranked(item(name), 0.0) for name in "abc")
    (order,) = Reranker(judge(0.0, 0.4, 0.9), rank_weight=0.5)([RerankRequest(query("q"), found)])
    # b: 0.4 - log(2)/2 = 0.053; c: 0.9 - log(3)/2 = 0.351.
    assert [r.item.id for r in order] == ["c", "b", "a"]
    assert [r.score for r in order] == pytest.approx([0.9 - 0.5 * math.log(3), 0.4 - 0.5 * math.log(2), 0.0])


@pytest.mark.parametrize(("own", "used"), [(2.0, 2.0), (0.0, 0.0), (None, 0.5)])
def test_a_head_with_a_weight_of_its_own_is_judged_with_that_one(judge, query, item, own, used):
    head = Head("facets", {"mix": torch.zeros(1)}, {} if own is None else {"prior_weight": own})
    found = tuple(Ranked(item(name), 0.0) for name in "ab")
    asks = [RerankRequest(query("hers"), found, head), RerankRequest(query("his"), found)]
    hers, his = Reranker(judge(0.0, 1.0, 0.0, 1.0), rank_weight=0.5)(asks)
    assert {r.item.id: r.score for r in hers} == pytest.approx({"a": 0.0, "b": 1.0 - used * math.log(2)})
    assert {r.item.id: r.score for r in his} == pytest.approx({"a": 0.0, "b": 1.0 - 0.5 * math.log(2)})


def test_the_retrievers_order_weighs_what_the_base_has_learnt_unless_told(judge, query, item):
    found = tuple(Ranked(item(name), 0.0) for name in "ab")
    ((_, second),) = Reranker(judge(1.0, 0.5, prior=0.25), rank_weight=None)([RerankRequest(query("q"), found)])
    assert (second.item.id, second.score) == ("b", pytest.approx(0.5 - 0.25 * math.log(2)))


def test_a_reranker_with_nothing_to_say_keeps_the_retrievers_order(judge, query, item):
    found = tuple(Ranked(item(name), 0.0) for name in "dbca")
    # Every ask counts its own ranks, from 1.
    orders = Reranker(judge(*[1.0] * 8), rank_weight=0.5)([RerankRequest(query("q"), found)] * 2)
    assert [ids(order) for order in orders] == [["d", "b", "c", "a"]] * 2
    assert [order[0].score for order in orders] == [1.0, 1.0]


def test_equally_useful_items_keep_the_retrievers_order(judge, query, item):
    found = tuple(Ranked(item(name), 0.0) for name in "dbca")
    assert ids(Reranker(judge(1.0, 2.0, 1.0, 2.0), 0)([RerankRequest(query("q"), found)])[0]) == ["b", "a", "d", "c"]


def test_items_are_judged_with_their_answer_their_query_and_its_head(judge, query, item):
    referee, head = judge(1.0, 2.0, 3.0), Head("facets", {"mix": torch.zeros(1)})
    robot, king = Ranked(item("A robot falls.", "sci-fi"), 1.0), Ranked(item("A king weeps.", "drama"), 0.0)
    orders = Reranker(referee, 0)(
        [
            RerankRequest(query("one"), (robot, king), head),
            RerankRequest(query("none"), ()),
            RerankRequest(query("two"), (robot,)),
        ]
    )
    assert referee.asked == [
        (("sci-fi: A robot falls.", "one", ()), head),
        (("drama: A king weeps.", "one", ()), head),
        (("sci-fi: A robot falls.", "two", ()), None),
    ]
    assert [ids(order) for order in orders] == [["A king weeps.", "A robot falls."], [], ["A robot falls."]]


def test_nothing_to_judge_asks_nobody(judge, query):
    referee = judge()
    assert Reranker(referee, 0)([RerankRequest(query("q"), ())]) == [[]]
    assert referee.asked == []


def test_items_that_only_fill_up_are_marked_wherever_they_come(judge, query, item):
    found = (Ranked(item("a"), 2.0), Ranked(item("b"), 0.0, fill=True))
    (order,) = Reranker(judge(0.0, 1.0), rank_weight=0)([RerankRequest(query("q"), found)])
    assert [(r.item.id, r.fill) for r in order] == [("b", True), ("a", False)]
