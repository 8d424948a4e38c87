"""What is passed through is in the completion log like any answer, and users may say what they think of it."""

import json
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from made_app import SAID
from openai_endpoint import completion, serving
from passing_apps import CALL, TOOLS, passing
from running import running_app
from streaming_endpoint import chunk, words
from streams import events, streamed

from hydra_ray.learn.heads.online import OnlineLearner
from hydra_ray.records import Usage, UserKey
from hydra_ray.serve.completions import writer
from hydra_ray.serve.passthrough import answered
from hydra_ray.serve.passthrough.answered import Answered
from hydra_ray.settings import Settings
from hydra_ray.tasks import CHAT_TASK

ANN = UserKey("acme", "ann")
IMAGE = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:image/png,"}}]


@pytest.fixture
def llm():
    with serving() as server:
        server.replies = [completion("It will.", id="chatcmpl-1")]
        yield server


@pytest.fixture
def app(served, scorer, tmp_path, monkeypatch):
    """Makes an app with a store of its own, whose heads learn at once."""
    monkeypatch.setattr(writer, "_LOOK_AGAIN_S", ())
    made = []

    def make(server, **serve):
        app = passing(served, server, more={"store": {"url": f"sqlite:///{tmp_path}/users.db"}}, **serve)
        bases = Settings.model_validate({"fit": {"head": {"kind": "bases"}}})
        app.adapter.learn.answer = OnlineLearner(app.ingress._store, "v1", CHAT_TASK, scorer(), bases).learn
        made.append(app)
        return app

    yield make
    for one in made:
        one.ingress._completions.close()


def kept(app, completion_id):
    assert app.ingress._completions.settle("acme", completion_id, 30)
    return app.ingress._feedback._log.find("acme", completion_id)


def charged(app, number):
    """What was charged, once it is so often."""
    deadline = time.monotonic() + 30
    while len(app.charged) < number and time.monotonic() < deadline:
        time.sleep(0.01)
    return app.charged


def say(app, completion_id, **body):
    return app.client.post("/v1/feedback", json={"id": completion_id, **body})


def asked(app, messages=SAID[-1:], **more):
    """Id of a completion that Ann got passed through."""
    reply = app.ask(messages, **{"user": "ann", "tools": TOOLS, **more})
    assert reply.json()["hydra"]["method"] == "passthrough", reply.text
    return reply.json()["id"]


def test_an_answer_is_kept_under_the_id_that_the_client_has(app, llm):
    app = app(llm)
    reply = app.ask(SAID[-1:], user="ann", tools=TOOLS)
    one = kept(app, reply.json()["id"])
    assert (one.user, one.input, one.method, one.passed_for, one.version) == (
        "ann",
        "And now?",
        "passthrough",
        "form",
        "v1",
    )
    assert ([offer.text for offer in one.candidates], one.answered, one.head, one.history) == (
        ["It will."],
        0,
        "none",
        (),
    )
    assert (one.usage.prompt_tokens, one.usage.completion_tokens, one.streamed) == (11, 5, False)
    assert one.request_id == reply.headers["x-request-id"]
    # An LLM may tell the same id twice; two completions never have the same.
    assert reply.json()["hydra"]["llm_id"] == "chatcmpl-1"
    assert asked(app) != one.id


@pytest.mark.parametrize(
    ("body", "reaction", "output"),
    [
        ({"verdict": "accepted"}, "accepted", "It will."),
        ({"rating": 1}, None, "It will."),
        ({"edited": "It will, alas."}, "edited", "It will, alas."),
    ],
)
def test_an_id_and_a_thumb_teach_what_any_feedback_on_one_text_does(app, llm, body, reaction, output):
    app = app(llm)
    completion_id = asked(app)
    reply = say(app, completion_id, **body)
    assert (reply.status_code, reply.json()["history"]) == (200, True), reply.text
    assert [(item.input, item.output) for item in app.ingress._store.history(ANN)] == [("And now?", output)]
    one = kept(app, completion_id)
    assert (one.statement.reaction, one.learnt) == (reaction, True)
    (event,) = app.ingress._store.feedback_events([ANN])[ANN]
    assert (event.candidates, event.method) == (("It will.",), "passthrough")


def test_the_question_before_a_tools_result_is_what_was_answered(app, llm):
    app = app(llm)
    turns = [
        SAID[-1],
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    say(app, asked(app, turns), verdict="accepted")
    assert [item.input for item in app.ingress._store.history(ANN)] == ["And now?"]


@pytest.mark.parametrize("content", [None, "", "I look it up."])
def test_calls_of_tools_are_no_text_and_feedback_on_them_counts_and_teaches_nothing(app, llm, content):
    message = {"role": "assistant", "content": content, "tool_calls": [CALL]}
    llm.replies = [{"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}]
    app = app(llm)
    completion_id = asked(app)
    assert kept(app, completion_id).candidates == ()
    reply = say(app, completion_id, edited="Yes.")
    assert (reply.json()["history"], reply.json()["learnt"]) == (False, False)
    assert kept(app, completion_id).statement.reaction == "edited"
    assert app.ingress._store.history(ANN) == ()


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": IMAGE}],
        [{"role": "user", "content": IMAGE}, {"role": "assistant", "content": "A cat."}, SAID[-1]],
        [SAID[-1], {"role": "assistant", "content": "It"}],
    ],
    ids=["an image", "an image before", "an answer that was begun"],
)
def test_what_is_more_than_the_users_text_is_rated_and_teaches_nothing(app, llm, messages):
    app = app(llm)
    completion_id = asked(app, messages)
    assert (kept(app, completion_id).input, len(kept(app, completion_id).candidates)) == ("", 1)
    assert say(app, completion_id, rating=1).json()["learnt"] is False
    assert kept(app, completion_id).statement.rating == 1
    assert app.ingress._store.history(ANN) == ()


@pytest.mark.parametrize("who", ["nobody", "switched off"])
def test_of_who_is_not_personalised_no_text_is_kept_and_nothing_is_learnt(app, llm, who):
    app = app(llm)
    if who == "switched off":
        app.client.patch("/v1/users/ann", json={"personalisation": False})
    completion_id = asked(app, user=None if who == "nobody" else "ann")
    one = kept(app, completion_id)
    assert (one.user, one.input, one.candidates, one.passed_for) == (None, None, (), "form")
    assert say(app, completion_id, verdict="accepted").json()["history"] is False


def test_it_is_exported_and_goes_with_the_user(app, llm):
    app = app(llm)
    completion_id = asked(app)
    kept(app, completion_id)
    (row,) = app.client.get("/v1/users/ann/export").json()["tables"]["completions"]
    assert (row["id"], row["passed_for"]) == (completion_id, "form")
    assert app.client.delete("/v1/users/ann").json()["counts"]["completions"] == 1
    assert kept(app, completion_id) is None


def test_a_choice_is_chosen_by_its_place(app, llm):
    llm.replies = [completion("One.", "Two.", "Two.")]
    app = app(llm)
    completion_id = asked(app, n=3)
    assert [offer.text for offer in kept(app, completion_id).candidates] == ["One.", "Two.", "Two."]
    say(app, completion_id, chosen=2)
    (event,) = app.ingress._store.feedback_events([ANN])[ANN]
    assert (event.said, event.text) == ("accepted", "Two.")


@pytest.mark.parametrize("place", [None, 0])
def test_what_a_user_makes_of_a_call_of_tools_beside_a_text_teaches_nothing(app, llm, place):
    reply = completion("It will.", "It will.")
    reply["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    llm.replies, app = [reply], app(llm)
    completion_id = asked(app, n=2)
    assert [offer.text for offer in kept(app, completion_id).candidates] == ["", "It will."]
    said = say(app, completion_id, edited="Yes.", chosen=place)
    assert (said.status_code, said.json()["history"], said.json()["learnt"]) == (200, False, False)
    assert app.ingress._store.history(ANN) == ()
    # The text may be meant by its place.
    assert say(app, completion_id, edited="Yes.", chosen=1).json()["learnt"]


def test_a_stream_is_kept_once_it_has_come_to_its_end(app, stream):
    app = app(stream)
    stream.let(*words("It ", "will", "."), end=True)
    with streamed(app, user="ann", tools=TOOLS) as response:
        coming = list(events(response))
    (completion_id,) = {one["id"] for one in coming}
    one = kept(app, completion_id)
    assert ([offer.text for offer in one.candidates], one.streamed) == (["It will."], True)
    assert one.usage.completion_tokens == 5
    assert say(app, completion_id, verdict="accepted").json()["history"] is True


def test_a_client_that_hangs_up_midway_leaves_nothing_and_is_charged(app, stream):
    app = app(stream)
    stream.let(chunk({"content": "It"}))
    with streamed(app, user="ann", tools=TOOLS) as response:
        completion_id = next(events(response))["id"]
        response.close()
        assert stream.left.wait(30)
    assert kept(app, completion_id) is None
    assert [usage.completion_tokens for usage in charged(app, 1)] == [1]


def test_a_client_that_hangs_up_before_a_whole_answer_is_charged_what_was_asked(app, llm):
    asked, answers = threading.Event(), threading.Event()

    def answer(body):
        asked.set()
        assert answers.wait(30)
        return completion("It will.")

    llm.replies, app = [answer], app(llm)
    body = json.dumps({"model": "hydra", "messages": SAID[-1:], "user": "ann", "tools": TOOLS}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with running_app(app.ingress.__serve_build_asgi_app__()) as url:
        with socket.create_connection(("127.0.0.1", urlsplit(url).port), 30) as client:
            client.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            assert asked.wait(30)
        assert charged(app, 1) == [Usage(1, 6, 0)]
        answers.set()
    app.ingress._completions.close()
    assert app.ingress._feedback._log.count() == 0


def test_a_client_that_hangs_up_once_it_has_the_whole_answer_has_it_kept(app, stream):
    app = app(stream)
    stream.let(chunk({"content": "It will."}), chunk(finish="stop"))
    with streamed(app, user="ann", tools=TOOLS) as response:
        coming = events(response)
        completion_id = next(coming)["id"]
        assert next(coming)["choices"][0]["finish_reason"] == "stop"
        response.close()
        assert stream.left.wait(30)
    assert len(charged(app, 1)) == 1
    assert [offer.text for offer in kept(app, completion_id).candidates] == ["It will."]


def test_an_answer_that_breaks_off_is_not_kept(app, stream):
    app = app(stream)
    stream.let(chunk({"content": "It"}), {"error": {"message": "the engine died", "code": 500}}, end=True)
    with streamed(app, user="ann", tools=TOOLS) as response:
        completion_id = next(events(response))["id"]
    assert kept(app, completion_id) is None


def gathered(*replies, n=1):
    found = Answered(n)
    for reply in replies:
        found.note(reply)
    return found


def whole(content, finish="stop", index=0, **more):
    return {"choices": [{"index": index, "message": {"content": content, **more}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("replies", "texts"),
    [
        ([whole("Fine.")], ("Fine.",)),
        ([whole("<think>Hm.</think>Fine.")], ("Fine.",)),
        ([whole([{"type": "text", "text": "Fi"}, {"type": "text", "text": "ne."}])], ("Fine.",)),
        ([whole("So f", "length")], ("So f",)),
        ([whole("So f", "content_filter")], ()),
        ([whole(None, refusal="I will not.")], ()),
        ([whole("Fine.", index=7)], ()),
        ([{"choices": [None, {"index": "x"}]}, {"choices": 3}, {}], ()),
        ([chunk({"content": "Fi"}), chunk({"content": "ne."}), chunk(finish="stop")], ("Fine.",)),
        # Of an answer without an end nobody knows whether it is whole.
        ([chunk({"content": "Fi"})], ()),
    ],
)
def test_what_of_an_answer_is_text(replies, texts):
    assert gathered(*replies).texts() == texts


def test_choices_that_come_mixed_are_kept_in_their_order():
    def piece(index, **choice):
        return {"choices": [{"index": index, "delta": {}, **choice}]}

    ends = [piece(i, finish_reason="stop") for i in range(3)]
    said = gathered(
        piece(2, delta={"content": "Th"}),
        piece(0, delta={"content": "One."}),
        piece(2, delta={"content": "ree."}),
        piece(1, delta={"tool_calls": [CALL]}),
        *ends[:2],
        n=3,
    )
    assert not said.is_over
    said.note(ends[2])
    assert said.is_over
    assert said.texts() == ("One.", "", "Three.")


def test_an_endless_answer_is_held_in_bounded_memory_and_kept_without_text(monkeypatch):
    monkeypatch.setattr(answered, "MOST_SIGNS", 10)
    said = gathered(*[chunk({"content": "word "})] * 100, chunk(finish="length"))
    assert said.texts() == ()
    assert not any(choice.texts for choice in said._choices.values())
