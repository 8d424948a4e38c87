"""What the encoder reads."""

from defaults import lexical

from hydra_ray.steps.retrieval.retrievers import dense
from hydra_ray.steps.texts import adapter_texts, reranker_texts

CITATION = '"Trees", which reference is related? Just answer with [1] or [2]. [1]: "On parsing" [2]: "On dogs"'


def test_an_items_answer_stands_before_what_may_be_cut(item):
    assert reranker_texts("A dog barks.", item("A robot falls.", "sci-fi")) == (
        "sci-fi: A robot falls.",
        "A dog barks.",
        (),
    )


def test_a_numbered_answer_is_judged_by_the_text_behind_it():
    assert adapter_texts("[2]", CITATION, ["On cats"]) == ("On dogs", CITATION, ("On cats",))
    assert adapter_texts("drama", "A dog barks.", ["drama", "war"]) == ("drama", "A dog barks.", ("drama", "war"))


def test_history_is_searched_with_the_listed_texts_alone(item, query, word_vectors):
    history = [item("which reference is related", "x"), item("we study dogs", "y")]
    assert lexical(query(CITATION), history, 1)[0].item.output == "y"
    assert dense(query(CITATION), history, 1, word_vectors)[0].item.output == "y"


def test_answers_stay_apart_whatever_they_say():
    assert adapter_texts("tea | coffee", "Which?", ["tea | coffee", ""])[2] == ("tea | coffee", "")
