import math

import pytest
import torch

from hydra_ray.models.beside import sources_beside
from hydra_ray.models.heads import Head
from hydra_ray.records import Candidate, Source
from hydra_ray.steps.adapt import (
    Adapter,
    AdaptRequest,
    distinct_candidates,
    json_candidates,
    prior_weight,
    with_allowed,
)
from hydra_ray.steps.candidates import Sample
from hydra_ray.tasks import TEXT_TASK


def candidates(**votes):
    return tuple(Candidate(text, count, order) for order, (text, count) in enumerate(votes.items()))


def distinct(task, texts):
    return distinct_candidates(task, [Sample(text, greedy=False) for text in texts])


def test_samples_of_one_answer_are_one_candidate_with_its_votes(tag_task):
    texts = ["Drama.", "comedy", "Sci - Fi", "drama", "no idea", "", "COMEDY"]
    assert distinct(tag_task, texts) == (
        Candidate("drama", 2, 0),
        Candidate("comedy", 2, 1),
        Candidate("sci-fi", 1, 2),
    )


def test_one_answer_of_several_prompts_is_one_candidate_that_knows_who_said_it(tag_task):
    said = [
        Sample("Drama.", True, "zero-shot"),
        Sample("comedy", False, "zero-shot"),
        Sample("drama", True, "recent", "length"),
        Sample("drama", False, "zero-shot"),
        Sample("sci-fi", False, "recent", "length"),
    ]
    drama, comedy, scifi = distinct_candidates(tag_task, said)
    assert (drama.text, drama.votes, drama.finish) == ("drama", 3, "stop")
    assert drama.sources == (Source("zero-shot", 2, greedy=True), Source("recent", 1, greedy=True))
    assert (comedy.sources, scifi.sources) == (
        (Source("zero-shot", 1, greedy=False),),
        (Source("recent", 1, greedy=False),),
    )
    assert scifi.finish == "length"
    (one,) = json_candidates([Sample('{"a": 1}', False, "recent"), Sample('{"a":1}', True, "bm25")])
    assert (one.text, one.sources) == ('{"a": 1}', (Source("recent", 1, greedy=False), Source("bm25", 1, greedy=True)))


def test_free_texts_are_told_apart_by_their_words():
    found = distinct(TEXT_TASK, ["A title ", "a title", " ", "A title"])
    assert [(c.text, c.votes) for c in found] == [("A title", 2), ("a title", 1)]


def test_answers_outside_the_set_are_kept_where_nothing_else_is_there(tag_task):
    found = distinct(tag_task, ["romance", " ", "western"])
    assert [(c.text, c.order) for c in found] == [("romance", 0), ("western", 1)]
    assert distinct(tag_task, ["", " "]) == distinct(tag_task, []) == ()


def test_answers_outside_the_set_have_their_votes_too(tag_task):
    found = distinct(tag_task, ["romance", "western", "western"])
    assert [(c.text, c.votes) for c in found] == [("romance", 1), ("western", 2)]


def test_allowed_answers_that_the_llm_did_not_say_follow_without_votes(tag_task):
    said = distinct(tag_task, ["drama", "comedy", "drama"])
    assert with_allowed(tag_task, said, 4) == (
        Candidate("drama", 2, 0),
        Candidate("comedy", 1, 1),
        Candidate("dark comedy", 0, 2),
        Candidate("sci-fi", 0, 3),
    )


@pytest.mark.parametrize("said", [(), ("romance", "western", "western")])
def test_where_the_llm_said_nothing_allowed_the_allowed_answers_are_left(tag_task, said):
    offered = with_allowed(tag_task, distinct(tag_task, said), 64)
    assert offered == tuple(Candidate(label, 0, order) for order, label in enumerate(tag_task.labels))


def test_large_answer_sets_and_free_text_are_left_alone(tag_task):
    for task, most in ((tag_task, 3), (tag_task, 0), (TEXT_TASK, 64)):
        said = distinct(task, ["drama", "drama"])
        assert with_allowed(task, said, most) == said == (Candidate("drama", 2, 0),)
        assert with_allowed(task, (), most) == ()


def test_the_llms_vote_is_a_prior_to_the_logit(judge, query):
    offered = candidates(drama=6, comedy=2)
    ((first, second),) = Adapter(judge(1.0, 1.5), vote_weight=0.5)([AdaptRequest(query("q"), offered)])
    # drama: 1 + log(6.1/8.1)/2 = 0.858; comedy: 1.5 + log(2.1/8.1)/2 = 0.825.
    assert (first.text, first.logit, first.votes) == ("drama", 1.0, 6)
    assert first.score == pytest.approx(1.0 + 0.5 * math.log(6.1 / 8.1))
    assert (second.text, second.logit, second.order) == ("comedy", 1.5, 1)
    assert second.score == pytest.approx(1.5 + 0.5 * math.log(2.1 / 8.1))


def test_without_vote_weight_the_logit_decides(judge, query):
    ((first, _),) = Adapter(judge(1.0, 1.5), vote_weight=0)([AdaptRequest(query("q"), candidates(drama=6, comedy=2))])
    assert (first.text, first.score) == ("comedy", 1.5)


@pytest.mark.parametrize(("own", "used"), [(2.0, 2.0), (0.0, 0.0), (None, 0.5)])
def test_a_head_with_a_weight_of_its_own_is_judged_with_that_one(judge, query, own, used):
    head = Head("facets", {"mix": torch.zeros(1)}, {} if own is None else {"prior_weight": own})
    asks = [
        AdaptRequest(query("hers"), candidates(drama=6, comedy=2), head=head),
        AdaptRequest(query("his"), candidates(a=1, b=3)),
    ]
    hers, his = Adapter(judge(1.0, 1.5, 0.0, 0.0), vote_weight=0.5)(asks)
    scores = {candidate.text: candidate.score for candidate in (*hers, *his)}
    assert scores == pytest.approx(
        {
            "drama": 1.0 + used * math.log(6.1 / 8.1),
            "comedy": 1.5 + used * math.log(2.1 / 8.1),
            "a": 0.5 * math.log(1.1 / 4.1),
            "b": 0.5 * math.log(3.1 / 4.1),
        }
    )


@pytest.mark.parametrize(
    ("own", "given", "used"),
    [(2.0, 0.5, 2.0), (0.0, 0.5, 0.0), (None, 0.5, 0.5), (None, 0.0, 0.0), (None, None, 0.25), (0.0, None, 0.0)],
)
def test_the_heads_weight_goes_before_the_given_one_and_that_before_the_bases(judge, own, given, used):
    head = Head("facets", {"mix": torch.zeros(1)}, {} if own is None else {"prior_weight": own})
    assert prior_weight(judge(prior=0.25), head, given) == used
    assert prior_weight(judge(prior=0.25), None, given) == (0.25 if given is None else given)


def test_the_vote_weighs_what_the_base_has_learnt_unless_told(judge, query):
    ask = AdaptRequest(query("q"), candidates(drama=6, comedy=0))
    ((_, second),) = Adapter(judge(1.0, 1.5, prior=0.25), vote_weight=None)([ask])
    assert (second.text, second.score) == ("comedy", pytest.approx(1.5 + 0.25 * math.log(0.1 / 6.1)))


def test_of_equally_preferred_candidates_the_first_sampled_wins(judge, query):
    ((*order,),) = Adapter(judge(0.0, 1.0, 1.0), 0.5)([AdaptRequest(query("q"), candidates(a=1, b=1, c=1))])
    assert [candidate.text for candidate in order] == ["b", "c", "a"]


def test_candidates_are_judged_with_their_own_query_evidence_and_head(judge, query):
    referee, head = judge(1.0, 2.0, 3.0), Head("facets", {"mix": torch.zeros(1)})
    asks = [
        AdaptRequest(query("one"), candidates(a=1, b=1), ("drama", "comedy"), head),
        AdaptRequest(query("none"), ()),
        AdaptRequest(query("two"), candidates(c=1)),
    ]
    orders = Adapter(referee, 0.5)(asks)
    assert referee.asked == [
        (("a", "one", ("drama", "comedy")), head),
        (("b", "one", ("drama", "comedy")), head),
        (("c", "two", ()), None),
    ]
    assert [[c.text for c in order] for order in orders] == [["b", "a"], [], ["c"]]


def test_nothing_to_judge_asks_nobody(judge, query):
    referee = judge()
    assert Adapter(referee, 0.5)([AdaptRequest(query("q"), ())]) == [[]]
    assert Adapter(referee, 0.5)([]) == []
    assert referee.asked == []


def test_many_asks_at_once_equal_one_at_a_time(scorer, query):
    adapter = Adapter(scorer(), 0.5)
    asks = [AdaptRequest(query(f"film {n}"), candidates(drama=3, comedy=n + 1), ("comedy",) * n) for n in range(5)]
    for together, alone in zip(adapter(asks), (adapter([ask])[0] for ask in asks), strict=True):
        assert [c.text for c in together] == [c.text for c in alone]
        assert [c.score for c in together] == pytest.approx([c.score for c in alone], abs=1e-5)


def test_the_scorer_is_told_what_each_candidate_comes_from(judge, query):
    scorer = judge(0.0, 0.0, 0.0)
    mixed = (
        Candidate("drama", 2, 0, sources=(Source("bm25", 2, greedy=True),)),
        Candidate("comedy", 1, 1, sources=(Source("recent", 1, greedy=False),)),
    )
    Adapter(scorer, None)([AdaptRequest(query("a film"), mixed), AdaptRequest(query("a film"), candidates(war=1))])
    assert scorer.beside == [*sources_beside([one.sources for one in mixed]), {}]
    assert [one["greedy:bm25"] for one in scorer.beside[:2]] == [1, 0]
