"""What the prompts of a mix show."""

import pytest
from defaults import recipe

from hydra_ray.steps.sources import PROMPTS, PromptShare, mix_of_texts, retriever_of, retrievers_of
from hydra_ray.tasks.free import TEXT_TASK


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


def shares(mix):
    return [(share.prompt, share.samples) for share in mix]


def test_candidates_that_are_texts_come_from_three_prompts_in_equal_shares():
    assert shares(mix_of_texts("bm25", 8, greedy=True)) == [("bm25", 3), ("zero-shot", 3), ("recent", 2)]
    assert shares(mix_of_texts("recent", 8, greedy=False)) == [("recent", 4), ("zero-shot", 4)]
    assert mix_of_texts("bm25", 5, greedy=True) == (), "less than two of each"
    assert {share.greedy for share in mix_of_texts("bm25", 6, greedy=False)} == {False}


def test_the_task_decides_unless_settings_do(tag_task):
    default = recipe(rerank=False)
    assert [share.prompt for share in default.mix_of(TEXT_TASK)] == ["bm25", "zero-shot", "recent"]
    assert default.mix_of(tag_task) == ()
    assert default.shares(tag_task) == (PromptShare("", 8, greedy=True),)
    told = (PromptShare("zero-shot", 8, greedy=True),)
    assert recipe(mix=told).mix_of(tag_task) == recipe(mix=told).mix_of(TEXT_TASK) == told
    assert recipe(rerank=False, mix=()).mix_of(TEXT_TASK) == ()


@pytest.mark.parametrize("at_work", [{"rerank": True}, {"profile": "pag"}])
def test_what_a_reranker_or_a_profile_shows_all_candidates_see(at_work):
    assert recipe(**{"rerank": False, **at_work}).mix_of(TEXT_TASK) == ()
