"""The ingress in this process, with deployments that only remember what they were asked."""

from __future__ import annotations

import asyncio
import json
from inspect import isawaitable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from ray.exceptions import RayError

from hydra_ray.methods import METHODS
from hydra_ray.methods.ports import ProfileText
from hydra_ray.models.base import Base
from hydra_ray.records import Answer, ChatRequest, Choice, Generation, HistoryItem, Message, Ranked, Usage, UserKey
from hydra_ray.serve import ingress
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.tasks import CHAT_TASK, TEXT_TASK

SAID = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And now?"},
]
ITEM = HistoryItem("1", "Then?", "Wait.")
# The class as it is written, below what Serve makes of it.
PLAIN = ingress.Ingress.func_or_class.__bases__[0]


class Handle:
    """Stands in for a deployment's handle."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    @property
    def peers(self):
        return self

    async def remote(self, *arguments):
        self.asked.append(arguments)
        answer = self.answer(*arguments)
        return await answer if isawaitable(answer) else answer


class Newest:
    """Somebody's own method: it tells of no candidates, and does not go on without the retriever."""

    def __init__(self, ports, prompter, recipe):
        self._ports, self._prompter = ports, prompter

    async def __call__(self, query, head):
        shown = await self._ports.retrieve(query, 3, "recent")
        prompt = self._prompter(query, [ranked.item for ranked in shown])
        found = await self._ports.generate(ChatRequest(prompt.messages))
        return Answer(query.id, found.texts[0], tuple(shown))


class Served:
    """The ingress over HTTP, of one task and without Ray."""

    def __init__(self, settings: Settings):
        self.retriever = Handle(lambda query, *_: [Ranked(ITEM, 1.0)])
        self.generator = Handle(lambda request: Generation(("Calm.",), Usage(1, 5, 1)))
        reranker = Handle(lambda ask: list(ask[1]))
        adapter = Handle(lambda ask: Choice(ask[1], personal=True))
        profiler = Handle(lambda query, kind: ProfileText("Quiet.", degraded=True))
        self.ingress = PLAIN(settings, self.retriever, reranker, self.generator, adapter, profiler)
        app = FastAPI(exception_handlers=ingress.app.exception_handlers)
        # Serve turned the routes' functions into ones that ask for a replica.
        app.add_api_route("/v1/chat/completions", self.ingress.chat, methods=["POST"])
        app.add_api_route("/v1/models", self.ingress.models)
        self.client = TestClient(app)

    def ask(self, messages, **more):
        return self.client.post("/v1/chat/completions", json={"model": "hydra", "messages": messages, **more})

    @property
    def prompt(self):
        """The messages that the LLM was asked last."""
        return self.generator.asked[-1][0].messages


@pytest.fixture
def served(scorer, tmp_path):
    def make(task=TEXT_TASK, **serve):
        Base("v1", task, scorer(seed=1), scorer(seed=2)).save(tmp_path / "model" / "base")
        return Served(parse_settings({"out": str(tmp_path), "tenant": "acme", "serve": serve}))

    return make


def test_the_settings_method_answers_unless_a_request_names_another(served):
    app = served(method="rag")
    assert app.ask(SAID[-1:], user="ann").json()["hydra"]["method"] == "rag"
    zero = app.ask(SAID[-1:], user="ann", hydra={"method": "zero-shot"}).json()
    assert (zero["hydra"]["method"], zero["hydra"]["history"]) == ("zero-shot", [])
    whole = app.ask(SAID[-1:], user="ann", hydra={"method": "hydra"}).json()
    assert (whole["hydra"]["method"], whole["hydra"]["head"]) == ("hydra", "user")
    assert whole["choices"][0]["message"]["content"] == "Calm."


@pytest.fixture
def newest(monkeypatch):
    # Serve has made a copy of the class, and of all that it names.
    for methods in (METHODS, PLAIN.__init__.__globals__["METHODS"]):
        monkeypatch.setitem(methods, "newest", Newest)
    return {"method": "newest"}


def test_a_method_of_ones_own_answers_without_candidates(served, newest):
    reply = served().ask(SAID[-1:], hydra=newest).json()
    assert [choice["message"]["content"] for choice in reply["choices"]] == ["Calm."]
    assert reply["hydra"]["method"] == "newest"


def too_slow(*_):
    return asyncio.sleep(60)


def down(*_):
    raise RayError("Traceback of the replica")


@pytest.mark.parametrize(
    ("retriever", "told"),
    [
        (too_slow, "the retriever took more than 0.01 s: ask again"),
        (down, "the retriever gave no answer: ask again"),
    ],
)
def test_a_step_that_a_method_cannot_do_without_is_named(served, newest, retriever, told):
    app = served(step_timeout_s=0.01)
    app.retriever.answer = retriever
    reply = app.ask(SAID[-1:], hydra=newest)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
    assert reply.json()["error"] == {"message": told, "type": "upstream_error", "param": None, "code": 503}
    assert app.ask(SAID[-1:], hydra={"method": "rag"}).json()["hydra"]["degraded"] == ["retriever"]


def test_a_profile_that_tells_of_no_differences_is_told_all_the_same_and_named(served):
    app = served()
    assert app.ask(SAID[-1:], hydra={"method": "dpl"}).json()["hydra"]["degraded"] == ["differences"]
    assert "Quiet." in app.prompt[0].content


def test_an_unknown_method_is_refused_with_those_there_are(served):
    reply = served().ask(SAID, hydra={"method": "magic"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == (
        f"hydra.method: there is no method 'magic'; there are {', '.join(METHODS)}"
    )


def test_a_stream_says_which_method_answered(served):
    reply = served().ask(SAID, hydra={"method": "rag"}, stream=True)
    events = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert json.loads(events[-2])["hydra"]["method"] == "rag"


def test_a_conversation_reaches_the_llm_whole(served):
    app = served(CHAT_TASK, method="rag")
    assert app.ask(SAID, user="ann").status_code == 200
    assert app.prompt == (
        Message("system", "Be kind."),
        Message("user", "Then?"),
        Message("assistant", "Wait."),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "And now?"),
    )
    (query, *_) = app.retriever.asked[-1]
    assert (query.user, query.input) == (UserKey("acme", "ann"), "And now?")


def test_of_other_tasks_only_the_last_question_is_asked(served):
    app = served(method="zero-shot")
    app.ask(SAID)
    assert app.prompt == (Message("user", "And now?"),)


def test_a_conversation_that_ends_with_an_answer_is_refused(served):
    reply = served(CHAT_TASK).ask(SAID[:3])
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "messages: a conversation ends with a message of the user"


def test_the_same_words_after_another_conversation_are_another_request(served):
    app = served(CHAT_TASK, method="zero-shot")
    ids = [app.ask(messages).json()["id"] for messages in (SAID, SAID, SAID[-1:], SAID[1:])]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_there_is_one_model_whatever_the_methods(served):
    assert [model["id"] for model in served().client.get("/v1/models").json()["data"]] == ["hydra"]
