"""What the prompts of a mix show."""

import pytest

from hydra_ray.steps.sources import PROMPTS, PromptShare, retriever_of, retrievers_of


@pytest.mark.parametrize(
    ("prompt", "by"),
    [("zero-shot", None), ("recent", "recent"), ("dense", "dense"), ("reranked", "mixed"), ("profile", "mixed")],
)
def test_a_prompt_shows_the_items_of_a_retriever_or_none(prompt, by):
    assert prompt in PROMPTS
    assert retriever_of(prompt, "mixed") == by


def test_each_retriever_is_asked_once_and_the_methods_own_always():
    mix = [PromptShare(name, 1, greedy=True) for name in ("zero-shot", "recent", "reranked", "dense", "profile")]
    assert retrievers_of(mix, "bm25") == ("bm25", "recent", "dense")
    assert retrievers_of(mix, "recent") == ("recent", "dense")
    assert retrievers_of((), "bm25") == ("bm25",)
