"""One policy of failures: what is final, what is unfinished, and when to stop."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.records import HydraError
from hydra_ray.steps.generate import FINAL_KINDS, BudgetSpentError, GenerateError
from hydra_ray.steps.generate.failures import Failure, FailureLog, UnfinishedError, ask_each, by_kind, listed

PASSING = ["busy", "timeout", "connection", "server", "malformed", "other"]
LASTING = ["key", "quota", "setting"]
DOWN = Failure("server", "HTTP 503: out of order")
LONG = Failure("refused", "HTTP 400: too long")

outcomes = st.lists(
    st.none() | st.builds(Failure, st.sampled_from([*PASSING, *LASTING, *FINAL_KINDS]), st.sampled_from("ab")),
    max_size=200,
)


def log_of(ends, most=0.5):
    log = FailureLog(most)
    for end in ends:
        log.note(end)
    return log


@given(outcomes)
def test_only_a_run_without_anything_unfinished_or_with_nothing_but_refusals_passes(ends):
    log = log_of(ends)
    unfinished = [end for end in ends if end and not end.final]
    assert log.answered == ends.count(None)
    assert sum(one.count for one in (*log.final, *log.unfinished)) == len(ends) - ends.count(None)
    if unfinished or log.stop or (ends and None not in ends):
        with pytest.raises(UnfinishedError):
            log.check("")
    else:
        log.check("")


@given(st.lists(st.sampled_from([None, LONG]), min_size=1, max_size=300))
def test_refusals_never_stop_what_is_answered_at_first(ends):
    log = log_of([None, *ends])
    assert log.stop == ""
    log.check("")


@given(outcomes)
def test_how_requests_end_counts_the_same_one_by_one_or_together(ends):
    log = FailureLog(1.0)
    log.note_all(ends.count(None), Counter(end for end in ends if end))
    assert (log.answered, log.failed) == (log_of(ends).answered, log_of(ends).failed)


@pytest.mark.parametrize("kind", LASTING)
def test_what_an_operator_has_to_mend_stops_after_a_few(kind):
    ends = [None] * 50 + [Failure(kind, "HTTP 401: no such key")]
    assert log_of(ends).stop == ""
    assert f"({kind}): HTTP 401: no such key" in log_of(ends + ends[-1:] * 2).stop


@pytest.mark.parametrize("failure", [DOWN, LONG])
def test_nothing_answered_at_all_stops(failure):
    assert log_of([failure] * 31).stop == ""
    assert f"none of the first 32 requests, the last with: {failure.reason}" in log_of([failure] * 32).stop


def test_an_endpoint_that_dies_late_is_noticed():
    assert log_of([None] * 10_000 + [DOWN] * 31).stop == ""
    assert "32 requests in a row failed" in log_of([None] * 10_000 + [DOWN] * 32).stop


def test_a_share_of_failures_above_the_limit_stops_and_one_below_does_not():
    assert log_of([DOWN, None, None] * 500).stop == ""
    assert "of the latest" in log_of([DOWN, DOWN, None] * 100).stop
    assert "generator.max_failure_share (0.1)" in log_of([DOWN, None, None] * 500, most=0.1).stop
    assert log_of(([DOWN] * 40 + [None]) * 5, most=1.0).stop == log_of([DOWN] * 32, most=1.0).stop


def test_a_small_run_that_got_nothing_is_no_result():
    with pytest.raises(UnfinishedError, match=r"10 requests were not answered: 10 server \(most often: HTTP 503"):
        log_of([DOWN] * 10).check("")
    with pytest.raises(UnfinishedError, match=r"the LLM answered nothing: 10 refused"):
        log_of([LONG] * 10).check("")
    before = FailureLog(0.5, answered_before=90)
    before.note(LONG)
    before.check("")


def test_failures_are_told_by_kind_with_the_most_frequent_reason():
    failed = Counter({LONG: 2, Failure("refused", "odd"): 1, Failure("empty", "said nothing"): 1})
    assert listed(by_kind(failed)) == "3 refused (most often: HTTP 400: too long), 1 empty (said nothing)"


def test_final_kinds_are_those_of_errors():
    for kind in [*PASSING, *LASTING, *FINAL_KINDS]:
        assert Failure.of(GenerateError("x", kind)).final == GenerateError("x", kind).final == (kind in FINAL_KINDS)
    assert not Failure.of(HydraError("the adapter gave no answer")).final


async def test_each_item_has_a_result_or_its_failure_which_is_logged(caplog):
    async def ask(item):
        if item % 3 == 0:
            raise GenerateError("busy", "busy")
        if item % 3 == 1:
            raise HydraError("no step")
        return item

    log = FailureLog(1.0)
    found = await ask_each(range(6), ask, log, at_once=2, failing=(HydraError,))
    assert found == [
        Failure("busy", "busy"), Failure("step", "no step"), 2, Failure("busy", "busy"), Failure("step", "no step"), 5
    ]  # fmt: skip
    assert (log.answered, log.failed.total()) == (2, 4)
    assert [str(record.exc_info[1]) for record in caplog.records] == ["busy", "no step"] * 2


async def test_what_is_under_way_is_given_up_when_the_log_says_stop():
    begun = []

    async def ask(item):
        begun.append(item)
        if item < 3:
            raise GenerateError("HTTP 401", "key")
        await asyncio.Event().wait()

    log = FailureLog(0.5)
    found = await ask_each(range(100), ask, log, at_once=10)
    assert [one.kind for one in found] == ["key"] * 3 + ["stopped"] * 97
    assert len(begun) <= 13
    with pytest.raises(UnfinishedError, match="stopped early"):
        log.check("")


async def test_a_spent_budget_stops_and_is_no_failure_of_the_llm():
    async def ask(item):
        if item == 2:
            raise BudgetSpentError("generator.limits.calls: 2 of 2 are spent")
        return item

    log = FailureLog(0.5)
    found = await ask_each(range(5), ask, log, at_once=1)
    assert (found[:2], found[3].kind, log.failed.total()) == ([0, 1], "stopped", 0)
    with pytest.raises(UnfinishedError, match=r"generator\.limits\.calls: 2 of 2"):
        log.check("")


async def test_a_bug_is_raised_and_leaves_nothing_running():
    running = []

    async def ask(item):
        if item == 1:
            raise KeyError("bug")
        running.append(item)
        try:
            await asyncio.Event().wait()
        finally:
            running.remove(item)

    with pytest.raises(KeyError):
        await ask_each(range(4), ask, FailureLog(0.5), at_once=4)
    assert running == []
