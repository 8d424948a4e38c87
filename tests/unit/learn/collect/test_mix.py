"""Feedback about candidates of several prompts."""

from dataclasses import replace

from collecting import RECIPE
from defaults import prompter

from hydra_ray.learn.collect.labeler import Labeler
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.requests import RequestWriter
from hydra_ray.learn.collect.setup import collection_settings
from hydra_ray.records import Source
from hydra_ray.runtime.generators import calls_for_candidates
from hydra_ray.settings import parse_settings
from hydra_ray.steps.candidates import candidate_requests
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.sources import PromptShare

MIX = (PromptShare("zero-shot", 1, True), PromptShare("recent", 1, True), PromptShare("reranked", 2, False))
MIXED = replace(RECIPE, mix=MIX, candidates=4)


def writer(task, recipe=MIXED, items=0):
    return RequestWriter(prompter(task), recipe, items)


async def test_a_row_says_which_prompts_gave_each_candidate(scripted, tag_task, example):
    def answers(request):
        if len(request.messages) == 1:
            return ["sci-fi"]
        return ["comedy"] if request.n == 1 else ["comedy", "drama"]

    (row,) = (await Labeler(scripted(answers), tag_task)(writer(tag_task)(example))).adapter
    assert (row.candidates, row.votes, row.scores) == (("sci-fi", "comedy", "drama"), (1, 2, 1), (0.0, 1.0, 0.0))
    assert row.sources == (
        (Source("zero-shot", 1, greedy=True),),
        (Source("recent", 1, greedy=True), Source("reranked", 1, greedy=False)),
        (Source("reranked", 1, greedy=False),),
    )


def test_prompts_show_what_they_will_show_and_the_nearest_items_where_there_is_no_reranker_yet(tag_task, example):
    asked = writer(tag_task)(example)
    firsts = [request.messages[0].content for request in asked.several]
    assert asked.prompts == ("zero-shot", "recent", "reranked")
    assert [len(request.messages) for request in asked.several] == [1, 5, 5]
    assert firsts[1] == tag_task.question("a robot in love"), "the newest one first"
    (nearest,) = writer(tag_task, RECIPE)(example).several
    assert asked.several[2].messages == nearest.messages


def test_without_a_mix_requests_are_what_they_were(tag_task, example):
    asked = writer(tag_task, RECIPE)(example)
    (one,) = asked.several
    assert (asked.prompts, asked.several) == (
        ("",),
        candidate_requests(one.messages, 4, 0.9, False, one.max_tokens, one.seed, one.users, one.sampling),
    )


async def test_one_prompt_gives_rows_without_sources(scripted, tag_task, example):
    llm = scripted(lambda request: ["comedy"] * request.n)
    (row,) = (await Labeler(llm, tag_task)(writer(tag_task, RECIPE)(example))).adapter
    assert row.sources == ()


async def test_a_prompt_that_is_not_answered_leaves_no_row(scripted, tag_task, example):
    def answers(request):
        if len(request.messages) > 1 and request.n == 1:
            raise GenerateError("refused", "refused")
        return ["comedy"] * request.n

    feedback = await Labeler(scripted(answers), tag_task)(writer(tag_task)(example))
    assert (feedback.adapter, feedback.failed.total()) == ([], 1)


def test_a_folder_keeps_to_its_mix(tag_task):
    mix = [{"prompt": "zero-shot", "samples": 3}, {"prompt": "bm25", "samples": 5, "greedy": False}]
    plain, mixed = parse_settings({}), parse_settings({"method": {"prompts": mix, "rerank": True}})
    assert collection_settings(plain, tag_task)["method.prompts"] is None, "as folders of before have it"
    assert collection_settings(mixed, tag_task)["method.prompts"] == [
        {"prompt": "zero-shot", "samples": 3, "greedy": True},
        {"prompt": "bm25", "samples": 5, "greedy": False},
    ]
    assert (calls_for_candidates(plain, tag_task), calls_for_candidates(mixed, tag_task)) == (2, 3)


def test_a_query_without_history_is_asked_in_each_prompts_name(tag_task, query):
    asked = writer(tag_task)(Example(query("a film"), "comedy", (), pseudo=True))
    assert asked.prompts == ("zero-shot", "recent", "reranked")
    assert asked.several[0] == asked.several[1]
