"""An LLM that hangs, drips, fails or lies costs requests their deadline, never the server its sense."""

import pytest
from load import Load
from patience import until


def hurried(app_here):
    return lambda client, number: app_here.chat(client, number, headers={"X-Request-Timeout": "2"})


@pytest.mark.parametrize("mode", ["hangs", "drips"])
def test_an_llm_that_does_not_end_costs_those_who_wait_their_own_time_only(app_here, llm, mode):
    with Load(hurried(app_here), per_s=1).running() as load:
        until(lambda: load.statuses[200] > 1, "answers")
        llm.behave(mode)
        until(lambda: load.statuses[504] > 3, "deadlines")
        llm.behave("good")
        answered = load.statuses[200]
        until(lambda: load.statuses[200] > answered + 1, "answers again")
    assert set(load.statuses) <= {200, 502, 503, 504}
    late = [reply.body["error"] for reply in load.replies if reply.status == 504]
    assert {error["code"] for error in late} == {"deadline_exceeded"}


def test_an_llm_that_hangs_is_not_asked_for_ever(app_here, llm):
    with Load(app_here.chat, per_s=1).running() as load:
        llm.behave("hangs")
        until(lambda: load.statuses[503] > 2, "the breaker")
        llm.behave("good")
        until(app_here.is_well, "answers again")
    assert set(load.statuses) <= {200, 502, 503}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in load.replies if reply.status == 503)


def test_what_a_lying_llm_counts_is_not_believed(app_here, llm):
    llm.behave("lies")
    with Load(app_here.chat, per_s=2).running() as load:
        until(lambda: len(load.replies) > 4, "answers")
    assert load.statuses == {200: load.begun}
    for reply in load.replies:
        assert reply.body["choices"][0]["message"]["content"] in ("Calm.", "Quiet.", "Soft.")
        usage = reply.body["usage"]
        assert all(0 <= usage[name] < 10**9 for name in ("prompt_tokens", "completion_tokens", "total_tokens"))


def test_an_llm_that_fails_is_named(app_here, llm):
    llm.behave("fails")
    with Load(app_here.chat, per_s=2).running() as load:
        until(lambda: load.statuses[503] > 2, "the breaker")
    assert set(load.statuses) <= {502, 503}
