"""Processes of the application that are killed under load lose what they had in hand, and nothing else."""

import itertools

import pytest
from cluster_processes import CONTROLLER, PROXY, processes, replica
from load import Load
from patience import until
from ray import serve
from ray.exceptions import RayError

# What an answer is made without when these die.
DEGRADED = {"Retriever": "retriever", "Reranker": "reranker", "Adapter": "adapter", "Profiler": "profile"}
# Who teaches asks these; while they are away it is told to come again.
TEACHING = {"Retriever", "Adapter"}
# Tests say each thing once, under numbers of their own.
FIRST = itertools.count(10_000, 10_000)


def is_replaced(title, dead):
    """Whether another process is there, and Serve has what it wants."""
    pids = [process.pid for process in processes(title)]
    try:
        deployments = serve.status().applications["hydra"].deployments.values()
    except RayError:
        # The controller is not there yet.
        return False
    return len(pids) == 1 and pids[0] not in dead and all(one.status == "HEALTHY" for one in deployments)


class Told:
    """Load of all that users do, and what is to be true of it whoever dies.

    Args:
        app: The application.
        method: Method of the completions.
    """

    def __init__(self, app, method):
        self.app, self.method, self.first = app, method, next(FIRST)
        self.load = Load(self.ask, per_s=4)

    def ask(self, client, number):
        if number % 4 == 1:
            return self.app.feedback(client, self.first + number)
        if number % 4 == 3:
            return self.app.past(client, self.first + number)
        return self.app.chat(client, self.first + number, hydra={"method": self.method})

    @property
    def chats(self):
        return [reply for reply in self.load.replies if reply.request % 2 == 0]

    @property
    def said(self):
        """Replies to feedback and to new history, with the id of each."""
        names = {1: "said", 3: "did"}
        tells = [reply for reply in self.load.replies if reply.request % 2]
        return [(f"{names[reply.request % 4]}-{self.first + reply.request}", reply) for reply in tells]

    def degraded(self):
        """Names of all that any answer was made without."""
        return {name for reply in self.chats for name in reply.degraded}

    def failed(self):
        """Replies that are neither answers nor refusals of what found no room."""
        return [reply for reply in self.load.replies if reply.status not in (200, 429)]

    def check_users(self):
        """Nobody got anything of anybody else, and all that was acknowledged is there."""
        for reply in self.chats:
            if reply.status == 200:
                self.check_is_own(self.app.owner(self.first + reply.request), reply.body)
        kept = {user: {item["id"] for item in self.app.history(user)} for user in self.owners()}
        for name, reply in self.said:
            owner = self.app.owner(self.first + reply.request)
            if reply.status == 200:
                assert name in kept[owner]
            assert not any(name in ids for user, ids in kept.items() if user != owner)

    def owners(self):
        return {self.app.owner(self.first + reply.request) for reply in self.load.replies}

    def check_is_own(self, owner, body):
        hydra = body["hydra"]
        assert hydra["user"] == owner
        said = [choice["message"]["content"] for choice in body["choices"]]
        for text in [
            *said,
            *(one["text"] for one in hydra["candidates"]),
            *(one["output"] for one in hydra["history"]),
        ]:
            assert "(user-" not in text or f"({owner})" in text


@pytest.fixture
def told(app, llm):
    # Some are always under way.
    llm.behave("slow")
    return lambda method="hydra": Told(app, method)


def kill(title):
    """Kills the process; returns its pid."""
    (victim,) = processes(title)
    victim.kill()
    return victim.pid


def kill_at_work(told, llm, title):
    """Kills the process while it waits for the LLM with requests in hand; returns its pid."""
    llm.behave("hangs")
    until(lambda: told.load.begun - len(told.load.replies) > 4, "requests in hand")
    pid = kill(title)
    llm.behave("slow")
    return pid


def answered(told, more):
    """Waits for so many more answers to completions."""
    wanted = sum(reply.status == 200 for reply in told.chats) + more
    until(lambda: sum(reply.status == 200 for reply in told.chats) >= wanted, "answers")


@pytest.mark.parametrize("name", ["Retriever", "Reranker", "Adapter", "Profiler", "Generator", "Limiter", "Refitter"])
def test_a_step_that_is_killed_costs_answers_that_step_at_most(app, told, llm, name):
    told = told("pag" if name == "Profiler" else "hydra")
    with told.load.running():
        answered(told, 3)
        dead = {kill_at_work(told, llm, replica(name)) if name == "Generator" else kill(replica(name))}
        until(lambda: is_replaced(replica(name), dead), f"another {name}")
        until(lambda: app.is_well(hydra={"method": told.method}), "whole answers")
        answered(told, 2)
    assert {reply.status for reply in told.chats} == {200}
    assert told.degraded() <= {DEGRADED.get(name)}
    unlearnt = [reply for reply in told.failed() if reply.request % 4 == 1] if name in TEACHING else []
    assert {(reply.status, reply.headers["retry-after"]) for reply in unlearnt} <= {(503, "1")}
    assert told.failed() == unlearnt
    told.check_users()


def test_an_ingress_that_is_killed_loses_what_it_had_in_hand_at_most(app, told, llm):
    told = told()
    with told.load.running():
        answered(told, 3)
        before = len(told.load.replies)
        dead = {kill_at_work(told, llm, replica("Ingress"))}
        in_hand = told.load.begun - before
        until(lambda: is_replaced(replica("Ingress"), dead), "another ingress")
        until(app.is_well, "whole answers")
        answered(told, 2)
    lost = told.failed()
    assert 0 < len(lost) <= in_hand
    assert {(reply.status, reply.headers["retry-after"]) for reply in lost} == {(503, "1")}
    assert {reply.body["error"]["type"] for reply in lost} == {"server_error"}
    assert told.degraded() == set()
    told.check_users()


def test_a_controller_that_is_killed_is_missed_by_nobody_and_its_successor_replaces_who_died_with_it(app, told):
    told = told()
    with told.load.running():
        answered(told, 3)
        dead = {kill(CONTROLLER), kill(replica("Reranker"))}
        until(lambda: is_replaced(replica("Reranker"), dead), "another reranker by another controller")
        until(app.is_well, "whole answers")
        answered(told, 2)
    assert {reply.status for reply in told.load.replies} == {200}
    assert told.degraded() <= {"reranker"}
    told.check_users()


def test_a_proxy_that_is_killed_breaks_connections_and_is_back_at_its_port(app, told):
    told = told()
    with told.load.running():
        answered(told, 3)
        dead = {kill(PROXY)}
        until(lambda: is_replaced(PROXY, dead), "another proxy")
        until(app.is_well, "whole answers")
        answered(told, 2)
    assert {reply.status for reply in told.load.replies} <= {0, 200}
    assert told.degraded() == set()
    told.check_users()


def test_an_llm_that_is_killed_is_named_until_it_is_there_again_and_what_needs_none_goes_on(app, told, llm):
    told = told()
    with told.load.running():
        answered(told, 3)
        llm.kill()
        until(lambda: sum(reply.status == 503 for reply in told.chats) > 2, "the breaker")
        llm.start()
        until(app.is_well, "whole answers")
        answered(told, 2)
    assert {reply.status for reply in told.chats} <= {200, 502, 503}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in told.chats if reply.status == 503)
    assert {reply.status for _, reply in told.said} == {200}
    assert told.degraded() == set()
    told.check_users()
