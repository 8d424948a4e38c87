import asyncio
import json
import os

import pytest
from clocks import Clock
from collecting import RECIPE, answers, asked_texts, keys, run, timeless
from defaults import prompter, recipe

from hydra_ray.learn.collect import labeler
from hydra_ray.learn.collect.labeler import CollectedFeedback, Labeler
from hydra_ray.learn.collect.plan import Example, calls_of
from hydra_ray.learn.collect.report import CollectReport
from hydra_ray.learn.collect.requests import RequestWriter
from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey, ExampleRow, RerankerRow
from hydra_ray.records import Usage, UserKey
from hydra_ray.steps.generate import BudgetSpentError, GenerateError
from hydra_ray.steps.generate.failures import Failure, UnfinishedError
from hydra_ray.steps.seeds import stable_seed


class Killed(BaseException):
    """As if the process had been killed."""


def test_the_rows_of_one_query(scripted, tag_task, example, store, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(labeler, "time", clock)

    def after_two_seconds(request):
        clock.now += 2
        return answers(request)

    llm, reports = scripted(after_two_seconds), []
    report = run([example], llm, store, tag_task, seen=reports)
    about = (ExampleKey("acme", "ann", example.query.id, pseudo=True), example.query.input)
    # The items nearest to the query; "a dog" is third.
    assert sorted(store.read(RerankerRow), key=lambda row: row.item_id) == [
        RerankerRow(*about, "a robot falls", "a robot falls", "comedy", 1.0, 0.0),
        RerankerRow(*about, "a robot in love", "a robot in love", "drama", 0.0, 0.0),
    ]
    (row,) = store.read(AdapterRow)
    assert sorted(row.history[:2]) == ["comedy", "drama"]
    assert row == AdapterRow(*about, "comedy", row.history, ("comedy", "drama"), (2, 1), (1.0, 0.0))
    assert timeless(report) == CollectReport(examples=1, usage=Usage(calls=4, prompt_tokens=40, completion_tokens=7))
    assert reports == [report]
    assert (report.ended - report.began, report.call_seconds, report.rate) == (8, 8, 0.5)


def test_the_llm_is_asked_as_the_method_will_ask_it(scripted, tag_task, example, store):
    llm = scripted(answers)
    run([example], llm, store, tag_task)
    assert len(llm.requests) == calls_of(example, 2, 1) == 4
    assert {r.seed for r in llm.requests} == {stable_seed(7, example.query.user, example.query.id)}
    assert sorted((len(r.messages), r.n, r.temperature) for r in llm.requests) == [
        (1, 1, 0.0),
        (3, 1, 0.0),
        (3, 1, 0.0),
        (5, 4, 0.9),
    ]
    assert all(r.messages[-1].content == tag_task.question(example.query.input) for r in llm.requests)


@pytest.mark.parametrize("items", [0, 1, 2, 5])
def test_a_plans_cost_is_what_is_asked(scripted, tag_task, example, store, items):
    llm = scripted(answers)
    run([example], llm, store, tag_task, items=items)
    assert len(llm.requests) == calls_of(example, items, 1)
    assert len(store.read(RerankerRow)) == min(items, 3)
    assert len(store.read(AdapterRow)[0].history) == 3


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
    scripted, tag_task, example, examples, store, fails, reranker, adapter
):
    def fail(request):
        if fails(request) and request.messages[-1].content.endswith(example.query.input):
            raise GenerateError("too long", "refused")
        return answers(request)

    report = run([example, examples[1]], scripted(fail), store, tag_task)
    mine = example.key.example_id
    assert sorted(row.item_id for row in store.read(RerankerRow) if keys([row]) == [mine]) == reranker
    assert keys(store.read(AdapterRow)).count(mine) == adapter
    assert keys(store.read(AdapterRow)).count(examples[1].key.example_id) == 1
    assert (report.examples, report.failed, report.usage.calls) == (2, {Failure("refused", "too long"): 1}, 4 + 3 - 1)
    assert "1 calls failed (1 refused (too long))" in str(report)
    report.check()
    assert [row.failed_calls for row in store.read(ExampleRow)] == [1, 0]


@pytest.mark.parametrize("kind", ["busy", "timeout", "connection", "server", "malformed", "key", "other"])
def test_a_query_of_which_a_call_failed_for_now_is_asked_again(scripted, tag_task, example, examples, store, kind):
    def fail(request):
        if request.n > 1 and request.messages[-1].content.endswith(example.query.input):
            raise GenerateError("not now", kind)
        return answers(request)

    report = run([example, examples[1]], scripted(fail), store, tag_task)
    assert (report.examples, report.unfinished, report.failed) == (1, 1, {Failure(kind, "not now"): 1})
    with pytest.raises(UnfinishedError, match=rf"1 {kind} \(not now\).* asks just those again"):
        report.check()
    assert store.done() == {examples[1].key.example_id}
    assert "1 queries are unfinished" in str(report)
    again = run([example, examples[1]], scripted(answers), store, tag_task)
    assert (again.kept, again.examples, again.unfinished) == (1, 1, 0)
    for what in (ExampleRow, AdapterRow):
        assert sorted(keys(store.read(what))) == sorted([example.key.example_id, examples[1].key.example_id])


def test_a_spent_budget_stops_and_keeps_what_is_whole(scripted, tag_task, examples, store):
    def spend(request):
        if len(llm.requests) > 7:
            raise BudgetSpentError("generator.limits.calls: 7 of 7 are spent")
        return answers(request)

    llm = scripted(spend)
    report = run(examples, llm, store, tag_task)
    assert (report.examples, report.left, report.usage.calls) == (2, 3, 7)
    assert report.failed.total() == 0
    assert "Stopped early with 3 queries left: generator.limits.calls: 7 of 7" in str(report)
    assert store.done() == {example.key.example_id for example in examples[:2]}


def test_what_is_told_of_a_unit_survives_the_way_between_processes(scripted, tag_task, example):
    def fail(request):
        if len(request.messages) == 1:
            raise GenerateError("too long", "refused")
        return answers(request)

    feedback = asyncio.run(Labeler(scripted(fail), tag_task)(RequestWriter(prompter(tag_task), RECIPE, 2)(example)))
    assert feedback.adapter
    assert feedback.failed == {Failure("refused", "too long"): 1}
    assert CollectedFeedback.from_json(json.loads(json.dumps(feedback.to_json()))) == feedback


def test_fewer_candidates_are_counted_and_shift_nothing(scripted, tag_task, example, examples, store):
    def fewer(request):
        if request.n > 1 and request.messages[-1].content.endswith(example.query.input):
            return ["comedy"]
        return answers(request)

    report = run([example, examples[1]], scripted(fewer), store, tag_task)
    assert (report.missing_candidates, report.failed.total()) == (3, 0)
    mine, other = store.read(AdapterRow)
    assert (mine.key, mine.candidates, mine.votes) == (example.key, ("comedy",), (1,))
    assert (other.key.query_id, other.candidates, other.votes) == ("film 1", ("comedy", "drama"), (2, 1))


def test_an_answer_without_text_scores_nothing_and_breaks_nothing(scripted, tag_task, example, store):
    report = run([example], scripted(lambda r: answers(r) if r.n > 1 else []), store, tag_task)
    assert store.read(RerankerRow) == []
    assert len(store.read(AdapterRow)) == 1
    assert report.missing_candidates == 3


def test_texts_that_were_cut_are_counted_once(scripted, tag_task, query, item, store):
    example = Example(query("x" * 5000), "comedy", (item("word " * 60, "drama"), item("short", "drama")), pseudo=False)
    assert run([example], scripted(answers), store, tag_task).truncated == 2


def test_what_is_kept_is_not_asked_again(scripted, tag_task, examples, store):
    run(examples[:3], scripted(answers), store, tag_task)
    llm = scripted(answers)
    report = run(examples, llm, store, tag_task)
    assert (report.kept, report.examples) == (3, 2)
    assert asked_texts(llm) == {"film 3": 1, "film 4": 1}
    assert keys(store.read(ExampleRow)) == sorted(example.key.example_id for example in examples)
    again = scripted(answers)
    assert run(examples, again, store, tag_task) == CollectReport(kept=5)
    assert again.requests == []


def test_one_query_id_of_two_users_is_two_queries(scripted, tag_task, query, store):
    examples = [Example(query("film", user=name), "comedy", (), pseudo=False) for name in ("ann", "bob")]
    run(examples[:1], scripted(answers), store, tag_task)
    assert run(examples, scripted(answers), store, tag_task).examples == 1


@pytest.mark.parametrize("fatal", range(1, 15, 3))
def test_killed_and_started_again_no_query_is_missing_or_there_twice(scripted, tag_task, examples, store, fatal):
    def die(request):
        if len(first.requests) == fatal:
            raise Killed
        return answers(request)

    first, second = scripted(die), scripted(answers)
    with pytest.raises(Killed):
        run(examples, first, store, tag_task)
    kept = store.done()
    assert len(kept) == 2 * ((fatal - 1) // 6)
    report = run(examples, second, store, tag_task)
    assert not set(asked_texts(second)) & {query for _, _, query in kept}
    assert (report.kept, report.examples) == (len(kept), 5 - len(kept))
    for what in (ExampleRow, RerankerRow, AdapterRow):
        assert sorted(keys(store.read(what))) == sorted(example.key.example_id for example in examples)


def test_by_default_the_greedy_answer_is_asked_beside_the_samples(tag_task, example):
    asked = RequestWriter(prompter(tag_task), recipe(), 2)(example)
    assert [(request.n, request.temperature) for request in asked.several] == [(1, 0.0), (7, 0.7)]
    assert {(request.n, request.temperature) for request in asked.alone} == {(1, 0.0)}


@pytest.mark.parametrize("fatal", range(1, 10))
def test_killed_while_writing_loses_at_most_the_part(scripted, tag_task, examples, store, monkeypatch, fatal):
    replace, count = os.replace, iter(range(1, 99))

    def die(source, target):
        if next(count) == fatal:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as dying:
        dying.setattr("os.replace", die)
        with pytest.raises(Killed):
            run(examples, scripted(answers), store, tag_task)
    assert len(store.done()) == 2 * ((fatal - 1) // 3)
    run(examples, scripted(answers), store, tag_task)
    for what in (ExampleRow, RerankerRow, AdapterRow):
        assert sorted(keys(store.read(what))) == sorted(example.key.example_id for example in examples)


def test_what_a_broken_off_write_left_is_ignored(scripted, tag_task, examples, store, tmp_path):
    run(examples[:2], scripted(answers), store, tag_task)
    folder = tmp_path / "feedback"
    for name in ("00001.units.parquet.4f0c.partial", "00001.reranker.parquet", "00001.adapter.partial"):
        (folder / name).write_bytes(b"PAR1 broken")
    assert store.parts() == [0]
    assert len(store.read(RerankerRow)) == 2
    run(examples, scripted(answers), store, tag_task)
    assert store.parts() == [0, 1, 2]
    assert sorted(keys(store.read(RerankerRow))) == sorted(example.key.example_id for example in examples)


def test_feedback_is_read_of_the_users_asked_for(scripted, tag_task, examples, store):
    run(examples, scripted(answers), store, tag_task)
    ann, carl = UserKey("acme", "ann"), UserKey("acme", "carl")
    assert [row.key.query_id for row in store.read(AdapterRow, [carl, ann])] == ["film 0", "film 2", "film 3"]
    assert store.read(AdapterRow, [UserKey("zeta", "ann")]) == []
