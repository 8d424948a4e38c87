import asyncio
import json
from collections import Counter
from dataclasses import replace

import pytest

from hydra_ray.learn import collect, feedback
from hydra_ray.learn.collect import CollectReport, left_to_ask, record
from hydra_ray.learn.feedback import Asker, FeedbackStore, Questions, Told, unit_key
from hydra_ray.learn.first_scores import FirstScores
from hydra_ray.learn.plan import Unit, calls_of
from hydra_ray.methods import Recipe
from hydra_ray.records import ChatRequest, HydraError, Usage, UserKey
from hydra_ray.steps.generate import BudgetSpentError, GenerateError, failures
from hydra_ray.steps.generate.failures import Failure, FailureLog, UnfinishedError
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed

RECIPE = Recipe(shots=2, candidates=4, temperature=0.9, evidence=3, seed=7)


class Killed(BaseException):
    """As if the process had been killed."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(collect, "UNITS_PER_PART", 2)
    monkeypatch.setattr(failures, "_MANY", 6)


@pytest.fixture
def store(tmp_path):
    return FeedbackStore(tmp_path / "feedback")


@pytest.fixture
def unit(query, item):
    history = (item("a dog", "sci-fi"), item("a robot falls", "comedy"), item("a robot in love", "drama"))
    return Unit(query("a robot falls in love"), "comedy", history, pseudo=True)


@pytest.fixture
def units(query, item):
    """Five queries of three users, each with one item of history."""
    owners = ["ann", "bob", "ann", "carl", "bob"]
    return [
        Unit(query(f"film {number}", user=owner), "comedy", (item("an old film", "drama"),), pseudo=False)
        for number, owner in enumerate(owners)
    ]


def answers(request: ChatRequest):
    """Knows the answer with the nearest item in the prompt only; its four samples are of three kinds."""
    if request.n > 1:
        return ["comedy", "Drama.", "Comedy", "no idea"]
    return ["Comedy."] if "a robot falls" in request.messages[0].content and len(request.messages) > 1 else ["drama"]


def run(units, llm, store, task, items=2, seen=None, first=None):
    """A collection in this process: each unit is asked when the one before it is recorded."""
    asker, questions = Asker(llm, task), Questions(Prompter(task), RECIPE, items)
    todo = left_to_ask(units, store)
    told = ((place, asyncio.run(asker(questions(unit)))) for place, unit in enumerate(todo))
    report = CollectReport(kept=len(units) - len(todo))
    log = FailureLog(0.5, answered_before=report.kept)
    return record(todo, told, store, report, (seen if seen is not None else []).append, log, first)


def timeless(report):
    return replace(report, began=0.0, ended=0.0, call_seconds=0.0)


def asked_texts(llm):
    """Which queries were asked, and how often for candidates."""
    return Counter(r.messages[-1].content.split(": ")[1] for r in llm.requests if r.n > 1)


def keys(rows):
    return [(row["tenant"], row["user"], row["query_id"]) for row in rows]


def test_the_rows_of_one_query(scripted, tag_task, unit, store):
    llm, reports = scripted(answers), []
    report = run([unit], llm, store, tag_task, seen=reports)
    about = {"tenant": "acme", "user": "ann", "query_id": unit.query.id, "query": unit.query.input, "pseudo": True}
    # The items nearest to the query; "a dog" is third.
    falls, love = (
        {**about, "item_id": name, "item_input": name, "item_output": output, "score_without": 0.0}
        for name, output in (("a robot falls", "comedy"), ("a robot in love", "drama"))
    )
    rows = store.read("reranker")
    assert sorted(rows, key=lambda row: row["item_id"]) == [{**falls, "score_with": 1.0}, {**love, "score_with": 0.0}]
    (row,) = store.read("adapter")
    assert sorted(row.pop("history")[:2]) == ["comedy", "drama"]
    assert row == {
        **about,
        "gold": "comedy",
        "candidates": ["comedy", "drama"],
        "votes": [2, 1],
        "scores": [1.0, 0.0],
    }
    assert timeless(report) == CollectReport(units=1, usage=Usage(calls=4, prompt_tokens=40, completion_tokens=7))
    assert reports == [report]
    assert report.ended - report.began >= report.call_seconds / 4 > 0
    assert report.rate == pytest.approx(4 / (report.ended - report.began))


def test_the_llm_is_asked_as_the_method_will_ask_it(scripted, tag_task, unit, store):
    llm = scripted(answers)
    run([unit], llm, store, tag_task)
    assert len(llm.requests) == calls_of(unit, 2, 1) == 4
    assert {r.seed for r in llm.requests} == {stable_seed(7, unit.query.user, unit.query.id)}
    assert sorted((len(r.messages), r.n, r.temperature) for r in llm.requests) == [
        (1, 1, 0.0),
        (3, 1, 0.0),
        (3, 1, 0.0),
        (5, 4, 0.9),
    ]
    assert all(r.messages[-1].content == tag_task.question(unit.query.input) for r in llm.requests)


@pytest.mark.parametrize("items", [0, 1, 2, 5])
def test_a_plans_cost_is_what_is_asked(scripted, tag_task, unit, store, items):
    llm = scripted(answers)
    run([unit], llm, store, tag_task, items=items)
    assert len(llm.requests) == calls_of(unit, items, 1)
    assert len(store.read("reranker")) == min(items, 3)
    assert len(store.read("adapter")[0]["history"]) == 3


@pytest.mark.parametrize(
    ("fails", "reranker", "adapter"),
    [
        (lambda r: len(r.messages) == 3 and "a robot falls" in r.messages[0].content, ["a robot in love"], 1),
        (lambda r: r.n > 1, ["a robot falls", "a robot in love"], 0),
        # Without the answer without history no item can be said to help.
        (lambda r: len(r.messages) == 1, [], 1),
    ],
)
def test_a_refused_request_costs_its_own_rows_and_is_counted(
    scripted, tag_task, unit, units, store, fails, reranker, adapter
):
    def fail(request):
        if fails(request) and request.messages[-1].content.endswith(unit.query.input):
            raise GenerateError("too long", "refused")
        return answers(request)

    report = run([unit, units[1]], scripted(fail), store, tag_task)
    mine = unit_key(unit)
    assert sorted(row["item_id"] for row in store.read("reranker") if keys([row]) == [mine]) == reranker
    assert keys(store.read("adapter")).count(mine) == adapter
    assert keys(store.read("adapter")).count(unit_key(units[1])) == 1
    assert (report.units, report.failed, report.usage.calls) == (2, {Failure("refused", "too long"): 1}, 4 + 3 - 1)
    assert "1 calls failed (1 refused (too long))" in str(report)
    report.check()
    assert [row["failed_calls"] for row in store.read("units")] == [1, 0]


@pytest.mark.parametrize("kind", ["busy", "timeout", "connection", "server", "malformed", "key", "other"])
def test_a_query_of_which_a_call_failed_for_now_is_asked_again(scripted, tag_task, unit, units, store, kind):
    def fail(request):
        if request.n > 1 and request.messages[-1].content.endswith(unit.query.input):
            raise GenerateError("not now", kind)
        return answers(request)

    report = run([unit, units[1]], scripted(fail), store, tag_task)
    assert (report.units, report.unfinished, report.failed) == (1, 1, {Failure(kind, "not now"): 1})
    with pytest.raises(UnfinishedError, match=rf"1 {kind} \(not now\).* asks just those again"):
        report.check()
    assert store.done() == {unit_key(units[1])}
    assert "1 queries are unfinished" in str(report)
    again = run([unit, units[1]], scripted(answers), store, tag_task)
    assert (again.kept, again.units, again.unfinished) == (1, 1, 0)
    for what in ("units", "adapter"):
        assert sorted(keys(store.read(what))) == sorted([unit_key(unit), unit_key(units[1])])


def test_a_spent_budget_stops_and_keeps_what_is_whole(scripted, tag_task, units, store):
    def spend(request):
        if len(llm.requests) > 7:
            raise BudgetSpentError("generator.limits.calls: 7 of 7 are spent")
        return answers(request)

    llm = scripted(spend)
    report = run(units, llm, store, tag_task)
    assert (report.units, report.left, report.usage.calls) == (2, 3, 7)
    assert report.failed.total() == 0
    assert "Stopped early with 3 queries left: generator.limits.calls: 7 of 7" in str(report)
    assert store.done() == {unit_key(unit) for unit in units[:2]}


def test_what_is_told_of_a_unit_survives_the_way_between_processes(scripted, tag_task, unit):
    def fail(request):
        if len(request.messages) == 1:
            raise GenerateError("too long", "refused")
        return answers(request)

    told = asyncio.run(Asker(scripted(fail), tag_task)(Questions(Prompter(tag_task), RECIPE, 2)(unit)))
    assert told.adapter
    assert told.failed == {Failure("refused", "too long"): 1}
    assert Told.from_json(json.loads(json.dumps(told.to_json()))) == told


def test_fewer_candidates_are_counted_and_shift_nothing(scripted, tag_task, unit, units, store):
    def fewer(request):
        if request.n > 1 and request.messages[-1].content.endswith(unit.query.input):
            return ["comedy"]
        return answers(request)

    report = run([unit, units[1]], scripted(fewer), store, tag_task)
    assert (report.missing_candidates, report.failed.total()) == (3, 0)
    mine, other = store.read("adapter")
    assert (mine["query_id"], mine["candidates"], mine["votes"]) == (unit.query.id, ["comedy"], [1])
    assert (other["query_id"], other["candidates"], other["votes"]) == ("film 1", ["comedy", "drama"], [2, 1])


def test_an_answer_without_text_scores_nothing_and_breaks_nothing(scripted, tag_task, unit, store):
    report = run([unit], scripted(lambda r: answers(r) if r.n > 1 else []), store, tag_task)
    assert store.read("reranker") == []
    assert len(store.read("adapter")) == 1
    assert report.missing_candidates == 3


def test_texts_that_were_cut_are_counted_once(scripted, tag_task, query, item, store):
    unit = Unit(query("x" * 5000), "comedy", (item("word " * 60, "drama"), item("short", "drama")), pseudo=False)
    assert run([unit], scripted(answers), store, tag_task).truncated == 2


def test_what_is_kept_is_not_asked_again(scripted, tag_task, units, store):
    run(units[:3], scripted(answers), store, tag_task)
    llm = scripted(answers)
    report = run(units, llm, store, tag_task)
    assert (report.kept, report.units) == (3, 2)
    assert asked_texts(llm) == {"film 3": 1, "film 4": 1}
    assert keys(store.read("units")) == sorted(unit_key(unit) for unit in units)
    again = scripted(answers)
    assert run(units, again, store, tag_task) == CollectReport(kept=5)
    assert again.requests == []


def test_one_query_id_of_two_users_is_two_queries(scripted, tag_task, query, store):
    units = [Unit(query("film", user=name), "comedy", (), pseudo=False) for name in ("ann", "bob")]
    run(units[:1], scripted(answers), store, tag_task)
    assert run(units, scripted(answers), store, tag_task).units == 1


@pytest.mark.parametrize("fatal", range(1, 15, 3))
def test_killed_and_started_again_no_query_is_missing_or_there_twice(scripted, tag_task, units, store, fatal):
    def die(request):
        if len(first.requests) == fatal:
            raise Killed
        return answers(request)

    first, second = scripted(die), scripted(answers)
    with pytest.raises(Killed):
        run(units, first, store, tag_task)
    kept = store.done()
    assert len(kept) == 2 * ((fatal - 1) // 6)
    report = run(units, second, store, tag_task)
    assert not set(asked_texts(second)) & {query for _, _, query in kept}
    assert (report.kept, report.units) == (len(kept), 5 - len(kept))
    for what in ("units", "reranker", "adapter"):
        assert sorted(keys(store.read(what))) == sorted(unit_key(unit) for unit in units)


@pytest.mark.parametrize("fatal", range(1, 10))
def test_killed_while_writing_loses_at_most_the_part(scripted, tag_task, units, store, monkeypatch, fatal):
    replace, count = feedback.os.replace, iter(range(1, 99))

    def die(source, target):
        if next(count) == fatal:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as dying:
        dying.setattr(feedback.os, "replace", die)
        with pytest.raises(Killed):
            run(units, scripted(answers), store, tag_task)
    assert len(store.done()) == 2 * ((fatal - 1) // 3)
    run(units, scripted(answers), store, tag_task)
    for what in ("units", "reranker", "adapter"):
        assert sorted(keys(store.read(what))) == sorted(unit_key(unit) for unit in units)


def test_what_a_broken_off_write_left_is_ignored(scripted, tag_task, units, store, tmp_path):
    run(units[:2], scripted(answers), store, tag_task)
    folder = tmp_path / "feedback"
    for name in ("00001.units.partial", "00001.reranker.parquet", "00001.adapter.partial"):
        (folder / name).write_bytes(b"PAR1 broken")
    assert store.parts() == [0]
    assert len(store.read("reranker")) == 2
    run(units, scripted(answers), store, tag_task)
    assert store.parts() == [0, 1, 2]
    assert sorted(keys(store.read("reranker"))) == sorted(unit_key(unit) for unit in units)


@pytest.mark.parametrize("alive", [0, 3, 6])
def test_a_dead_generator_stops_the_collection_and_keeps_what_was_there(scripted, tag_task, units, store, alive):
    def die(request):
        if len(llm.requests) > alive:
            raise GenerateError("HTTP 503", "server")
        return answers(request)

    llm = scripted(die)
    with pytest.raises(UnfinishedError, match=r"stopped early: .* HTTP 503.* The same command goes on") as caught:
        run(units, llm, store, tag_task)
    assert not isinstance(caught.value, GenerateError)
    assert len(store.done()) == len(store.read("adapter")) == alive // 3
    assert len(llm.requests) == alive + 6


def test_what_an_operator_has_to_mend_stops_at_once(scripted, tag_task, units, store):
    def turn_away(request):
        raise GenerateError("HTTP 401: invalid key", "key")

    llm = scripted(turn_away)
    with pytest.raises(UnfinishedError, match=r"until somebody mends .*\(key\): HTTP 401: invalid key"):
        run(units, llm, store, tag_task)
    assert len(llm.requests) == 3


@pytest.mark.parametrize("count", [1, 5])
def test_where_everything_is_refused_nothing_is_kept(scripted, tag_task, units, store, count):
    def refuse(request):
        raise GenerateError("no such model", "refused")

    with pytest.raises(UnfinishedError, match="no such model"):
        run(units[:count], scripted(refuse), store, tag_task)
    assert store.done() == set()


def test_refusals_are_how_a_query_ends_where_others_are_answered(scripted, tag_task, units, store):
    def seldom(request):
        if request.n == 1 or request.messages[-1].content[-1] in "13":
            raise GenerateError("too long", "refused")
        return answers(request)

    report = run(units, scripted(seldom), store, tag_task)
    assert (report.units, report.unfinished, report.failed.total(), len(store.read("adapter"))) == (5, 0, 12, 3)
    llm = scripted(answers)
    assert run(units, llm, store, tag_task).kept == 5
    assert llm.requests == []


def test_equal_scores_of_the_first_queries_stop_before_more_is_spent(
    scripted, tag_task, query, item, store, monkeypatch
):
    monkeypatch.setattr(collect, "UNITS_PER_PART", 256)
    many = [
        Unit(query(f"film {number}"), "comedy", (item("an old film", "drama"),), pseudo=False) for number in range(40)
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
    assert run(many, scripted(lambda r: ["drama"] * r.n), store, tag_task).units == 40, "unless it is told to go on"


def test_scores_that_differ_once_go_on_and_a_small_collection_is_told(scripted, tag_task, units, store):
    many = FirstScores(tag_task, 5)
    report = run(units, scripted(lambda request: ["drama"] * request.n), store, tag_task, first=many)
    assert report.units == 5
    assert "Note: all 15 scores of the first 5 queries are 0" in str(report)


def test_answers_from_the_cache_are_no_sign_of_death(scripted, tag_task, units, store):
    llm = scripted(answers)

    async def cached(request):
        generation = await llm(request)
        return type(generation)(generation.texts, Usage(prompt_tokens=10, completion_tokens=4, cached=1))

    report = run(units, cached, store, tag_task)
    assert (report.units, report.usage) == (5, Usage(cached=15))


def test_feedback_is_read_of_the_users_asked_for(scripted, tag_task, units, store):
    run(units, scripted(answers), store, tag_task)
    ann, carl = UserKey("acme", "ann"), UserKey("acme", "carl")
    assert [row["query_id"] for row in store.read("adapter", [carl, ann])] == ["film 0", "film 2", "film 3"]
    assert store.read("adapter", [UserKey("zeta", "ann")]) == []
