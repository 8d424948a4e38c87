"""Chat completions over HTTP: which method answers, for whom, and what of the request it is told."""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import quote

import pytest
from made_app import ITEM, SAID
from openai import BadRequestError, NotFoundError, OpenAI
from ray.exceptions import RayError

from hydra_ray.methods import METHODS
from hydra_ray.records import NOBODY, Answer, Candidate, ChatRequest, Message, Ranked, UserKey
from hydra_ray.registry import UnreachableError
from hydra_ray.tasks import CHAT_TASK


class Newest:
    """Somebody's own method: it tells of no candidates, and does not go on without the retriever."""

    def __init__(self, ports, prompter, recipe):
        self._ports, self._prompter = ports, prompter

    async def __call__(self, query, head):
        shown = await self._ports.retrieve(query, 3, "recent")
        prompt = self._prompter(query, [ranked.item for ranked in shown])
        found = await self._ports.generate(ChatRequest(prompt.messages))
        return Answer(query.id, found.texts[0], tuple(shown))


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
    monkeypatch.setitem(METHODS, "newest", Newest)
    return {"method": "newest"}


def test_a_method_of_ones_own_answers_without_candidates(served, newest):
    reply = served().ask(SAID[-1:], hydra=newest).json()
    assert [choice["message"]["content"] for choice in reply["choices"]] == ["Calm."]
    assert reply["hydra"]["method"] == "newest"


def too_slow(*_):
    return asyncio.sleep(60)


def down(*_):
    raise RayError("Traceback of the replica")


def wrong(*_):
    # As it comes by gRPC.
    raise KeyError("Traceback of the replica")


@pytest.mark.parametrize(
    ("retriever", "told"),
    [
        (too_slow, "the retriever took more than 0.5 s: ask again"),
        (down, "the retriever gave no answer: ask again"),
        (wrong, "the retriever gave no answer: ask again"),
    ],
)
def test_a_step_that_a_method_cannot_do_without_is_named(served, newest, retriever, told, caplog):
    app = served(step_timeout_s=0.5)
    app.retriever.answer = retriever
    reply = app.ask(SAID[-1:], user="ann", hydra=newest)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
    assert reply.json()["error"] == {"message": told, "type": "upstream_error", "param": None, "code": None}
    caplog.clear()
    assert app.ask(SAID[-1:], user="ann", hydra={"method": "rag"}).json()["hydra"]["degraded"] == ["retriever"]
    # The cause is for the operator, and not for clients.
    assert told.removesuffix(": ask again") in caplog.text
    assert ("Traceback of the replica" in caplog.text) == (retriever is not too_slow)


def test_a_profile_that_tells_of_no_differences_is_told_all_the_same_and_named(served):
    app = served()
    assert app.ask(SAID[-1:], user="ann", hydra={"method": "dpl"}).json()["hydra"]["degraded"] == ["differences"]
    assert "Quiet." in app.prompt[0].content


def test_an_unknown_method_is_refused_with_those_there_are(served):
    reply = served().ask(SAID, hydra={"method": "magic"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == (
        f"hydra.method: there is no method 'magic'; there are {', '.join(METHODS)}, passthrough"
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


def test_of_other_tasks_only_the_last_question_is_asked_and_what_instructs_is_told(served):
    app = served(method="zero-shot")
    app.ask(SAID)
    assert app.prompt == (Message("system", "Be kind."), Message("user", "And now?"))


def test_a_conversation_that_ends_with_an_answer_is_refused(served):
    reply = served(CHAT_TASK).ask(SAID[:3])
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "messages"


def test_the_same_words_after_another_conversation_sample_anew_and_every_response_has_its_own_id(served):
    app = served(CHAT_TASK, method="zero-shot")
    ids = {app.ask(messages).json()["id"] for messages in (SAID, SAID, SAID[-1:], SAID[1:])}
    seeds = [request.seed for (request, _) in app.generator.asked]
    assert len(ids) == 4
    assert all(re.fullmatch("chatcmpl-[0-9a-f]{32}", one) for one in ids)
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 3


def test_there_is_one_model_for_each_version_whatever_the_methods(served):
    models = served().client.get("/v1/models").json()["data"]
    assert [model["id"] for model in models] == ["hydra", "hydra@production", "hydra@v1"]


@pytest.mark.parametrize("user", [{}, {"user": None}, {"user": ""}, {"user": " \n"}])
def test_for_nobody_nothing_is_looked_up(served, user):
    app = served(more={"method": {"rerank": True}})
    for method in METHODS:
        told = app.ask(SAID[-1:], hydra={"method": method}, **user).json()["hydra"]
        assert (told["user"], told["history"], told["degraded"]) == (None, [], []), method
    assert app.retriever.asked == app.profiler.asked == app.reranker.asked == []
    assert {request.messages for (request, _) in app.generator.asked} == {(Message("user", "And now?"),)}
    assert app.adapter.asked
    for (query, *_, head), _ in app.adapter.asked:
        assert (query.user, head) == (NOBODY, None)


def test_no_method_of_ones_own_can_look_up_nobody(served, monkeypatch):
    class Curious(Newest):
        async def __call__(self, query, head):
            await self._ports.peers(query, 3)
            await self._ports.profile(query, "pag")
            await self._ports.adapt(query, [Candidate("a")], [], query.user)
            await self._ports.rerank(query, [Ranked(ITEM, 1.0)], query.user)
            return await super().__call__(query, head)

    monkeypatch.setitem(METHODS, "curious", Curious)
    app = served(method="curious", more={"method": {"rerank": True}})
    assert app.ask(SAID[-1:]).json()["hydra"]["history"] == []
    assert app.retriever.asked == app.profiler.asked == []
    assert [ask[-1] for ask, _ in (*app.adapter.asked, *app.reranker.asked)] == [None, None]


def test_the_answer_says_whom_it_is_for_and_what_was_ignored(served):
    app = served(method="rag")
    told = app.ask(SAID, user=" ann ", temperature=0.3, seed=None).json()["hydra"]
    assert told["user"] == "ann"
    assert told["ignored"] == ["temperature", "messages[1] (user)", "messages[2] (assistant)"]
    (query, *_) = app.retriever.asked[-1]
    assert query.user == UserKey("acme", "ann")


def test_the_operator_says_what_names_the_user(served):
    app = served(method="rag", user_from=["header:X-User", "metadata.end_user"])

    def asked_for(headers=None, **more):
        body = {"model": "hydra", "messages": SAID[-1:], **more}
        return app.client.post("/v1/chat/completions", json=body, headers=headers).json()["hydra"]["user"]

    assert asked_for(user="eve") is None
    assert asked_for(user="eve", metadata={"end_user": "ann"}) == "ann"
    assert asked_for({"X-User": "王".encode()}, metadata={"end_user": "ann"}) == "王"


def test_a_safety_identifier_names_the_user_where_the_operator_says_so(served):
    def asked(app, **more):
        told = app.ask(SAID[-1:], **more).json()["hydra"]
        return told["user"], "safety_identifier" in told["ignored"]

    # A gateway that minds `user` alone would let it pass.
    assert asked(served(method="rag"), safety_identifier="ann") == (None, True)
    app = served(method="rag", user_from=["user", "safety_identifier"])
    assert asked(app, safety_identifier="ann") == ("ann", False)
    assert asked(app, safety_identifier="ann", user="bob") == ("bob", False)
    assert asked(app, safety_identifier="ann", user=None) == ("ann", False)
    # Whoever names nobody means it.
    assert asked(app, safety_identifier="ann", user="") == (None, False)
    assert app.ask(SAID[-1:], safety_identifier=7).json()["error"]["param"] == "safety_identifier"


def test_a_clients_instructions_are_not_told_where_the_operator_says_so(served):
    app = served(method="zero-shot", tell_system=False)
    ignored = ["messages[0] (system)", "messages[1] (user)", "messages[2] (assistant)"]
    assert app.ask(SAID).json()["hydra"]["ignored"] == ignored
    assert app.prompt == (Message("user", "And now?"),)


@pytest.mark.parametrize("name", ["hydra", "acme/hydra v2"])
def test_a_model_is_found_by_its_name(served, name):
    app = served(model_name=name)
    for path in {quote(name), quote(name, safe="")}:
        assert app.client.get(f"/v1/models/{path}").json()["id"] == name
    reply = app.client.get("/v1/models/gpt%2F5")
    assert reply.status_code == 404
    assert reply.json()["error"] == {
        "message": f"there is no model 'gpt/5'; this is {name!r}",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_openais_client_streams_with_usage(served):
    app = served(method="rag")
    client = OpenAI(base_url="http://localhost/v1", api_key="none", http_client=app.client, max_retries=0)
    asked = {"model": "hydra", "messages": SAID[-1:], "user": "ann"}
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    *told, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == "Calm."
    assert told[-1].choices[0].finish_reason == "stop"
    assert told[-1].model_extra["hydra"]["user"] == "ann"
    assert (last.choices, last.usage.total_tokens) == ([], 6)
    with pytest.raises(BadRequestError, match="response_format") as caught:
        client.chat.completions.create(**asked, response_format={"type": "yaml"})
    assert caught.value.param == "response_format"
    with pytest.raises(NotFoundError) as missing:
        client.models.retrieve("gpt")
    assert missing.value.code == "model_not_found"


def test_a_page_of_another_origin_may_ask_where_the_operator_says_so(served):
    app = served(cors_origins=["https://app.example.com"])
    asks = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    allowed = app.client.options(
        "/v1/chat/completions", headers={**asks, "Access-Control-Request-Headers": "authorization,x-stainless-os"}
    )
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "x-stainless-os" in allowed.headers["Access-Control-Allow-Headers"]
    # Errors can be read by the page, too.
    wrong = app.client.post("/v1/chat/completions", content="{", headers=asks)
    assert (wrong.status_code, wrong.headers["Access-Control-Allow-Origin"]) == (400, "https://app.example.com")
    refused = app.client.options("/v1/models", headers={**asks, "Origin": "https://evil.example.com"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "Access-Control-Allow-Origin" not in refused.headers


def test_no_page_of_another_origin_may_ask_else(served):
    reply = served().client.get("/v1/models", headers={"Origin": "https://app.example.com"})
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_where_the_registry_does_not_answer_models_are_not_listed_and_the_served_one_answers_by_all_its_names(served):
    app = served()

    def unreachable(*_):
        raise UnreachableError("no route")

    app.ingress._names.all = app.ingress._names._catalog.registry.manifest = unreachable
    refused = app.client.get("/v1/models")
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "server_error")
    told = app.ask(SAID[-1:]).json()
    assert told["model"] == f"hydra@{told['hydra']['version']}"
    again = app.ask(SAID[-1:], model=told["model"])
    assert (again.status_code, again.json()["model"]) == (200, told["model"])
