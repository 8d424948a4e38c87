"""When a collection ends early: dead endpoints, refusals of everything, scores that teach nothing."""

import pytest
from collecting import answers, run

from hydra_ray.learn.collect import report as collect
from hydra_ray.learn.collect.first_scores import FirstScores
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.rows import AdapterRow
from hydra_ray.records import HydraError, Usage
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.failures import UnfinishedError


@pytest.mark.parametrize("alive", [0, 3, 6])
def test_a_dead_generator_stops_the_collection_and_keeps_what_was_there(scripted, tag_task, examples, store, alive):
    def die(request):
        if len(llm.requests) > alive:
            raise GenerateError("HTTP 503", "server")
        return answers(request)

    llm = scripted(die)
    with pytest.raises(UnfinishedError, match=r"stopped early: .* HTTP 503.* The same command goes on") as caught:
        run(examples, llm, store, tag_task)
    assert not isinstance(caught.value, GenerateError)
    assert len(store.done()) == len(store.read(AdapterRow)) == alive // 3
    assert len(llm.requests) == alive + 6


def test_what_an_operator_has_to_mend_stops_at_once(scripted, tag_task, examples, store):
    def turn_away(request):
        raise GenerateError("HTTP 401: invalid key", "key")

    llm = scripted(turn_away)
    with pytest.raises(UnfinishedError, match=r"until somebody mends .*\(key\): HTTP 401: invalid key"):
        run(examples, llm, store, tag_task)
    assert len(llm.requests) == 3


@pytest.mark.parametrize("count", [1, 5])
def test_where_everything_is_refused_nothing_is_kept(scripted, tag_task, examples, store, count):
    def refuse(request):
        raise GenerateError("no such model", "refused")

    with pytest.raises(UnfinishedError, match="no such model"):
        run(examples[:count], scripted(refuse), store, tag_task)
    assert store.done() == set()


def test_refusals_are_how_a_query_ends_where_others_are_answered(scripted, tag_task, examples, store):
    def seldom(request):
        if request.n == 1 or request.messages[-1].content[-1] in "13":
            raise GenerateError("too long", "refused")
        return answers(request)

    report = run(examples, scripted(seldom), store, tag_task)
    assert (report.examples, report.unfinished, report.failed.total(), len(store.read(AdapterRow))) == (5, 0, 12, 3)
    llm = scripted(answers)
    assert run(examples, llm, store, tag_task).kept == 5
    assert llm.requests == []


def test_equal_scores_of_the_first_queries_stop_before_more_is_spent(
    scripted, tag_task, query, item, store, monkeypatch
):
    monkeypatch.setattr(collect, "EXAMPLES_PER_PART", 256)
    many = [
        Example(query(f"film {number}"), "comedy", (item("an old film", "drama"),), pseudo=False)
        for number in range(40)
    ]
    llm = scripted(lambda request: ["好的没问题", "可以谢谢"][: request.n])
    stopped = (
        r"all 80 scores of the first 20 queries are 0, .* no answer is one of the 4 allowed ones \(data\.labels\); "
        r'.* "好的没问题", and the user "comedy"\. .* feedback\.stop_when_alike=false'
    )
    with pytest.raises(HydraError, match=stopped):
        run(many, llm, store, tag_task, first=FirstScores(tag_task, len(many)))
    assert len(llm.requests) == 20 * 3
    assert store.done() == set(), "scored in another way the same answers may teach"
    assert run(many, scripted(lambda r: ["drama"] * r.n), store, tag_task).examples == 40, "unless it is told to go on"


def test_scores_that_differ_once_go_on_and_a_small_collection_is_told(scripted, tag_task, examples, store):
    many = FirstScores(tag_task, 5)
    report = run(examples, scripted(lambda request: ["drama"] * request.n), store, tag_task, first=many)
    assert report.examples == 5
    assert "Note: all 15 scores of the first 5 queries are 0" in str(report)


def test_answers_from_the_cache_are_no_sign_of_death(scripted, tag_task, examples, store):
    llm = scripted(answers)

    async def cached(request):
        generation = await llm(request)
        return type(generation)(generation.texts, Usage(prompt_tokens=10, completion_tokens=4, cached=1))

    report = run(examples, cached, store, tag_task)
    assert (report.examples, report.usage) == (5, Usage(cached=15))
