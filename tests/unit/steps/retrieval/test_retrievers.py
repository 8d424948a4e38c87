import sys

import numpy as np
import pytest
from defaults import lexical, retriever

from hydra_ray.records import HydraError
from hydra_ray.steps.retrieval.retrievers import ENCODING, RETRIEVERS, searched_text, shuffled


def ids(ranked):
    return [r.item.id for r in ranked]


@pytest.fixture
def dense(word_vectors):
    """By the words that texts share, which takes no model."""
    return retriever("dense", word_vectors)


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
    assert [(ranked.score, ranked.fill) for ranked in found] == [(0, True), (0, True)]


LANGUAGES = {
    "Chinese": (["明天能开会吗", "会议室周五有空吗", "我的猫不吃饭", "去上海的机票多少钱"], "猫粮推荐", 2),
    "Japanese": (["明日会議できますか", "猫がご飯を食べません", "航空券はいくらですか", "雨がひどい"], "猫の餌", 1),
    "Korean": (
        ["회의실은 금요일에 비어 있나요?", "고양이가 밥을 먹지 않아요", "운동화를 사고 싶어요"],
        "새 운동화가 필요해",
        2,
    ),
    "Thai": (["พรุ่งนี้ประชุมกี่โมง", "อยากซื้อรองเท้าวิ่งคู่ใหม่", "ฝนตกหนักมากวันนี้"], "รองเท้าราคาเท่าไหร่", 1),
    "Hindi": (["कल बैठक कब है", "बिल्ली खाना नहीं खाती", "टिकट कितने का है"], "मेरी बिल्ली बीमार है", 1),
    "Arabic": (["متى الاجتماع غدا", "قِطَّتي لا تأكل", "كم سعر التذكرة"], "قطتي مريضة", 1),
    "Hebrew": (["מתי הפגישה מחר", "הֶחָתוּל לא אוכל", "כמה עולה הכרטיס"], "החתול חולה", 1),
    "German": (["Wann ist das Treffen?", "Schöne Grüße aus Köln", "Was kostet die Karte?"], "Grusse aus Koln", 1),
    "signs": (["I write C every day", "Learning C++ at night", "Cooking for friends"], "books on C++", 1),
    "emoji": (["so happy 🎉", "so tired 😴", "so 👍🏽"], "😴😴", 1),
}


@pytest.mark.parametrize(("told", "asked", "right"), LANGUAGES.values(), ids=list(LANGUAGES))
def test_what_concerns_a_query_is_found_in_any_language(query, item, told, asked, right):
    found = lexical(query(asked), [item(text) for text in told], len(told))
    assert (ids(found)[0], found[0].fill) == (told[right], False)
    assert found[1].score < found[0].score


def test_items_that_share_nothing_with_the_query_fill_up_newest_first_and_say_so(query, item, word_vectors):
    history = [item(text) for text in ("我喜欢苹果", "会议室周五有空吗", "下雨了", "买一双鞋")]
    found = lexical(query("周五开会"), history, 3)
    assert [(r.item.input, r.fill) for r in found] == [
        ("会议室周五有空吗", False),
        ("买一双鞋", True),
        ("下雨了", True),
    ]
    mixed = retriever("mixed", None)(query("周五开会"), history, 4)
    assert {r.item.input for r in mixed if r.fill} == {"我喜欢苹果", "下雨了", "买一双鞋"}
    others = [retriever(name, word_vectors) for name in ("dense", "recent", "random")]
    assert not any(found.fill for retrieve in others for found in retrieve(query("周五"), history, 4))


def test_what_a_retriever_only_fills_up_with_it_gives_nothing_for(query, item):
    history = [item("the only robot"), *(item(f"cow {number}") for number in range(60))]
    found = retriever("mixed", None)(query("robot"), history, 2)
    # Credit for the cows' places behind the robot would put twenty newer ones before it.
    assert ids(found) == ["the only robot", "cow 59"]
    assert [ranked.fill for ranked in found] == [False, True]


@pytest.mark.parametrize("name", ["bm25", "mixed", "hybrid"])
def test_words_are_stemmed_where_a_language_is_named(query, item, name, word_vectors):
    history = [item("die Häuser am See"), item("der Hund")]
    plain, stemmed = (
        retriever(name, word_vectors, stemmer)(query("Hauses"), history, 2) for stemmer in (None, "german")
    )
    assert plain[0].item.input == "der Hund"
    assert stemmed[0].score > plain[0].score
    assert lexical(query("Hauses"), history, 2, "german")[0].item.input == "die Häuser am See"


@pytest.mark.parametrize("name", ["dense", "recent", "random"])
def test_who_does_not_search_by_words_stems_nothing(query, item, name, word_vectors):
    history = [item("die Häuser am See"), item("der Hund")]
    plain, stemmed = (
        retriever(name, word_vectors, stemmer)(query("Hauses"), history, 2) for stemmer in (None, "german")
    )
    assert plain == stemmed


def test_the_context_is_searched_and_the_answer_is_not(query, item):
    history = [item("one", context="zebra"), item("two", "zebra"), item("three", "zebra")]
    found = lexical(query("zebra"), history, 3)
    assert found[0].item.id == "one"
    assert [ranked.score > 0 for ranked in found] == [True, False, False]


@pytest.mark.parametrize("name", RETRIEVERS)
@pytest.mark.parametrize(("k", "count"), [(0, 0), (3, 3), (5, 5), (9, 5)])
def test_at_most_k_different_items_are_returned(query, films, word_vectors, name, k, count):
    assert len(set(ids(retriever(name, word_vectors)(query("robot"), films, k)))) == count


@pytest.mark.parametrize("name", RETRIEVERS)
def test_no_history_gives_nothing(query, word_vectors, name):
    assert retriever(name, word_vectors)(query("robot"), [], 3) == []


@pytest.mark.parametrize("name", RETRIEVERS)
def test_only_those_that_compare_encodings_embed(query, films, word_vectors, name):
    embedded = []

    def embed(texts):
        embedded.extend(texts)
        return word_vectors(texts)

    retriever(name, embed)(query("robot"), films, 2)
    assert bool(embedded) == (name in ENCODING)


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
    found = [ranked.item.id for ranked in retriever("mixed", None)(query("robot"), history, 4)]
    assert found[0] == "a robot dreams of a robot"
    assert set(found) == {one.id for one in history}
    scores = [ranked.score for ranked in retriever("mixed", None)(query("robot"), history, 4)]
    assert scores == sorted(scores, reverse=True)
    # Second by recency, first by words.
    assert scores[0] == pytest.approx(1 / 61 + 1 / 62)


def test_an_item_of_nothing_but_an_answer_is_found_by_that(query, item, dense):
    assert searched_text(item("plot", "tag", context="title")) == "title plot"
    assert searched_text(item("", "a tweet on robots")) == "a tweet on robots"
    history = [item("", "a tweet on robots", id="robots"), item("", "cats", id="cats")]
    for retrieve in (lexical, dense):
        assert ids(retrieve(query("robots"), history, 1)) == ["robots"]


def test_dense_ranks_by_the_cosine_of_texts_with_their_context(query, item, dense):
    history = [item("cats", context="robots"), item("robots"), item("cats"), item("robots and cats and more cows")]
    found = dense(query("robots"), history, 4)
    assert [(r.item.input, r.item.context) for r in found[:2]] == [("robots", ""), ("cats", "robots")]
    # One word of two, and one of five of which one stands twice.
    assert [ranked.score for ranked in found] == pytest.approx([1, 2**-0.5, 8**-0.5, 0], abs=1e-3)


def test_dense_tells_equally_near_items_newest_first(query, item, dense):
    history = [item("robots", id=str(number)) for number in range(20)]
    assert ids(dense(query("robots"), history, 3)) == ["19", "18", "17"]


def test_dense_retrieval_without_faiss_says_what_to_install(monkeypatch, query, films, dense):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(HydraError, match=r"dense retrieval searches with faiss: install hydra-ray\[faiss-cpu\]"):
        dense(query("robot"), films, 2)


def test_hybrid_joins_words_meaning_and_recency(query, item):
    def machines_are_robots(texts):
        return np.array([[1, 0] if text in ("machine", "robot") else [0, 1] for text in texts], np.float32)

    hybrid = retriever("hybrid", machines_are_robots)
    history = [item("robot"), item("cow")]
    scores = {r.item.id: r.score for r in hybrid(query("machine"), history, 2)}
    # No item has the word, which gives none of them anything; by age the cow is first, by meaning the robot.
    assert scores == pytest.approx({"cow": 1 / 62 + 1 / 61, "robot": 1 / 61 + 1 / 62})
    assert ids(hybrid(query("machine"), [item("cat"), *history, item("robot", id="new")], 1)) == ["new"]
