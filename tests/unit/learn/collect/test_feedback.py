import asyncio
import json

import pytest
from clocks import Clock
from collecting import RECIPE, answers, asked_texts, keys, run, timeless

from hydra_ray.learn import feedback
from hydra_ray.learn.collect import CollectReport
from hydra_ray.learn.feedback import Asker, Questions, Told, unit_key
from hydra_ray.learn.plan import Unit, calls_of
from hydra_ray.records import Usage, UserKey
from hydra_ray.steps.generate import BudgetSpentError, GenerateError
from hydra_ray.steps.generate.failures import Failure, UnfinishedError
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed


class Killed(BaseException):
    """As if the process had been killed."""


def test_the_rows_of_one_query(scripted, tag_task, unit, store, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(feedback, "time", clock)

    def after_two_seconds(request):
        clock.now += 2
        return answers(request)

    llm, reports = scripted(after_two_seconds), []
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
    assert (report.ended - report.began, report.call_seconds, report.rate) == (8, 8, 0.5)


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


def test_feedback_is_read_of_the_users_asked_for(scripted, tag_task, units, store):
    run(units, scripted(answers), store, tag_task)
    ann, carl = UserKey("acme", "ann"), UserKey("acme", "carl")
    assert [row["query_id"] for row in store.read("adapter", [carl, ann])] == ["film 0", "film 2", "film 3"]
    assert store.read("adapter", [UserKey("zeta", "ann")]) == []
