import sys

import numpy as np
import pytest

from hydra_ray.records import HydraError
from hydra_ray.steps.retrieve import RETRIEVERS, dense, lexical, searched_text, shuffled


def ids(ranked):
    return [r.item.id for r in ranked]


@pytest.fixture(autouse=True)
def by_words(monkeypatch, word_vectors):
    """Encodes by the words that texts share, which takes no model."""
    monkeypatch.setattr("hydra_ray.steps.retrieve.default_embedder", lambda: word_vectors)


@pytest.fixture
def films(item):
    return [
        item("A robot learns to paint."),
        item("Two cats and a robot fall in love."),
        item("A farmer loses her cows."),
        item("Cats."),
        item("A farmer finds her cows."),
    ]


def test_items_with_the_querys_words_come_first(query, films):
    found = lexical(query("cats and robots, or one robot"), films, 5)
    assert ids(found)[0] == "Two cats and a robot fall in love."
    assert set(ids(found)[:3]) == {"Two cats and a robot fall in love.", "A robot learns to paint.", "Cats."}
    scores = [ranked.score for ranked in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[2] > 0 == scores[3]


def test_equally_good_items_are_told_newest_first(query, films):
    assert ids(lexical(query("farmer with cows"), films, 2)) == ["A farmer finds her cows.", "A farmer loses her cows."]


@pytest.mark.parametrize("text", ["zebra", "", "the of and", "?!"])
def test_a_query_that_matches_nothing_gets_the_newest(query, films, text):
    found = lexical(query(text), films, 2)
    assert ids(found) == ["A farmer finds her cows.", "Cats."]
    assert [ranked.score for ranked in found] == [0, 0]


def test_the_context_is_searched_and_the_answer_is_not(query, item):
    history = [item("one", context="zebra"), item("two", "zebra"), item("three", "zebra")]
    found = lexical(query("zebra"), history, 3)
    assert found[0].item.id == "one"
    assert [ranked.score > 0 for ranked in found] == [True, False, False]


@pytest.mark.parametrize("retriever", RETRIEVERS.values(), ids=list(RETRIEVERS))
@pytest.mark.parametrize(("k", "count"), [(0, 0), (3, 3), (5, 5), (9, 5)])
def test_at_most_k_different_items_are_returned(query, films, retriever, k, count):
    assert len(set(ids(retriever(query("robot"), films, k)))) == count


@pytest.mark.parametrize("retriever", RETRIEVERS.values(), ids=list(RETRIEVERS))
def test_no_history_gives_nothing(query, retriever):
    assert retriever(query("robot"), [], 3) == []


def test_history_without_words_is_still_history(query, item):
    assert ids(lexical(query("robot"), [item("", id="a"), item("?!", id="b")], 5)) == ["b", "a"]


def test_random_items_depend_on_user_and_query_only(query, item):
    history = [item(f"film {number}") for number in range(100)]
    drawn = ids(shuffled(query("robot", id="q"), history, 10))
    assert ids(shuffled(query("something else", id="q"), history, 10)) == drawn
    assert ids(shuffled(query("robot", id="q2"), history, 10)) != drawn
    assert ids(shuffled(query("robot", user="bob", id="q"), history, 10)) != drawn


def test_recent_items_come_newest_first_whatever_is_asked(query, item):
    history = [item(name) for name in "abc"]
    assert [ranked.item.id for ranked in RETRIEVERS["recent"](query("a"), history, 2)] == ["c", "b"]
    # Told last is not newest.
    history = [item("a", ts="2021-10-01"), item("b", ts="2021-3-9"), item("c", ts="1600000000")]
    assert [ranked.item.id for ranked in RETRIEVERS["recent"](query("a"), history, 2)] == ["a", "b"]


def test_mixed_puts_what_fits_and_is_new_before_what_is_only_one_of_them(query, item):
    history = [item("a robot falls in love"), item("a king"), item("a robot dreams of a robot"), item("a queen")]
    found = [ranked.item.id for ranked in RETRIEVERS["mixed"](query("robot"), history, 4)]
    assert found[0] == "a robot dreams of a robot"
    assert set(found) == {one.id for one in history}
    scores = [ranked.score for ranked in RETRIEVERS["mixed"](query("robot"), history, 4)]
    assert scores == sorted(scores, reverse=True)
    # Second by recency, first by words.
    assert scores[0] == pytest.approx(1 / 61 + 1 / 62)


def test_an_item_of_nothing_but_an_answer_is_found_by_that(query, item):
    assert searched_text(item("plot", "tag", context="title")) == "title plot"
    assert searched_text(item("", "a tweet on robots")) == "a tweet on robots"
    history = [item("", "a tweet on robots", id="robots"), item("", "cats", id="cats")]
    for retriever in (lexical, dense):
        assert ids(retriever(query("robots"), history, 1)) == ["robots"]


def test_dense_ranks_by_the_cosine_of_texts_with_their_context(query, item):
    history = [item("cats", context="robots"), item("robots"), item("cats"), item("robots and cats and more cows")]
    found = dense(query("robots"), history, 4)
    assert [(r.item.input, r.item.context) for r in found[:2]] == [("robots", ""), ("cats", "robots")]
    # One word of two, and one of five of which one stands twice.
    assert [ranked.score for ranked in found] == pytest.approx([1, 2**-0.5, 8**-0.5, 0], abs=1e-3)


def test_dense_tells_equally_near_items_newest_first(query, item):
    history = [item("robots", id=str(number)) for number in range(20)]
    assert ids(dense(query("robots"), history, 3)) == ["19", "18", "17"]


def test_dense_retrieval_without_faiss_says_what_to_install(monkeypatch, query, films):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(HydraError, match=r"dense retrieval searches with faiss: install hydra-ray\[faiss-cpu\]"):
        dense(query("robot"), films, 2)


def test_hybrid_joins_words_meaning_and_recency(query, item, monkeypatch):
    def machines_are_robots(texts):
        return np.array([[1, 0] if text in ("machine", "robot") else [0, 1] for text in texts], np.float32)

    monkeypatch.setattr("hydra_ray.steps.retrieve.default_embedder", lambda: machines_are_robots)
    history = [item("robot"), item("cow")]
    scores = {r.item.id: r.score for r in RETRIEVERS["hybrid"](query("machine"), history, 2)}
    # No item has the word, so by words and by age the cow is first; by meaning the robot.
    assert scores == pytest.approx({"cow": 1 / 61 + 1 / 62 + 1 / 61, "robot": 1 / 62 + 1 / 61 + 1 / 62})
    assert ids(RETRIEVERS["hybrid"](query("machine"), [item("cat"), *history, item("robot", id="new")], 1)) == ["new"]
