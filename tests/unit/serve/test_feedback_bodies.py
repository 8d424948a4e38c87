"""What clients send about users: bodies, ids in paths, and the errors that name what is wrong."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError

from hydra_ray.serve.http.ids import Id, UserId
from hydra_ray.serve.http.middleware import EncodedPaths
from hydra_ray.serve.users import Feedback
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.tasks import TASKS, TEXT_TASK

BODY = {"input": "a heist on the moon", "candidates": ["drama", "sci-fi"], "accepted": "drama"}


def wrong_fields(body):
    """Names of the fields that are wrong."""
    with pytest.raises(ValidationError) as caught:
        Feedback.model_validate(body)
    return {".".join(map(str, error["loc"])) for error in caught.value.errors()}


def verdict(task, **body):
    return Feedback.model_validate({"input": "a heist", "id": "7", **body}).event(task)


@pytest.mark.parametrize("said", ["accepted", "edited", "rejected"])
def test_a_body_becomes_the_verdict_it_says(tag_task, said):
    found = verdict(tag_task, candidates=["drama", "sci-fi"], ts="2026-05-01", **{said: "drama"})
    assert found == FeedbackEvent("7", "a heist", said, "drama", ("drama", "sci-fi"), "2026-05-01")


def test_texts_are_read_as_the_task_reads_answers(tag_task):
    found = verdict(tag_task, accepted=" Sci - Fi.", candidates=["DRAMA", "no label"])
    assert (found.text, found.candidates) == ("sci-fi", ("drama", "no label"))
    assert verdict(TEXT_TASK, edited=" Dear Bob\n").text == "Dear Bob"


def test_what_is_known_of_the_answer_is_kept_with_what_is_said(tag_task):
    more = {"completion_id": "chatcmpl-7", "method": "hydra", "propensity": 0.25}
    found = verdict(tag_task, candidates=["drama", " Drama."], votes=[3, 1], accepted="drama", **more)
    assert (found.votes, found.candidates) == ((3, 1), ("drama", "drama"))
    assert (found.completion_id, found.method, found.propensity) == ("chatcmpl-7", "hydra", 0.25)


def test_the_instruction_may_be_sent_along(tag_task):
    assert verdict(tag_task, input=tag_task.question("a heist"), accepted="drama").input == "a heist"


def test_an_id_is_made_where_none_is_sent():
    first, second = (Feedback.model_validate(BODY).id for _ in range(2))
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"accepted": None}, {"rejected"}),
        ({"edited": "drama"}, {"rejected"}),
        ({"accepted": None, "edited": "drama", "rejected": "drama"}, {"rejected"}),
        ({"accepted": ""}, {"accepted"}),
        ({"accepted": 7, "input": None, "candidates": ["drama", " "]}, {"accepted", "input", "candidates.1"}),
        ({"input": " ", "accepted": None, "id": "", "ts": 5}, {"input", "rejected", "id", "ts"}),
        ({"ts": "next Tuesday"}, {"ts"}),
        ({"votes": [3]}, {"votes"}),
        ({"votes": [3, -1]}, {"votes.1"}),
        (
            {"votes": [3, 1, 1], "propensity": 1.5, "method": "", "completion_id": 7},
            {"votes", "propensity", "method", "completion_id"},
        ),
        ({"candidates": ["drama"] * 65}, {"candidates"}),
        ({"acepted": "drama"}, {"acepted"}),
        ({"accepted": "half a \ud83d sign", "id": "\0"}, {"accepted", "id"}),
    ],
)
def test_all_that_is_wrong_is_named(changes, fields):
    assert wrong_fields({**BODY, **changes}) == fields


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"input": "x"}, "exactly one of accepted, edited and rejected is wanted, not none"),
        ({**BODY, "ts": "9.3.2021"}, "'9.3.2021' is no date that can be read: write a year"),
        ({**BODY, "edited": "x"}, "exactly one of accepted, edited and rejected is wanted, not accepted and edited"),
    ],
)
def test_verdicts_too_many_or_too_few_are_told(body, told):
    with pytest.raises(ValidationError, match=told):
        Feedback.model_validate(body)


def test_what_was_preferred_has_to_be_an_allowed_answer(tag_task):
    told = "edited: 'thriller' is not among the allowed answers: comedy, dark comedy, sci-fi, drama"
    with pytest.raises(ValueError, match=told):
        verdict(tag_task, edited="thriller")
    with pytest.raises(ValueError, match=r"input: there is no text beside the instruction; accepted: "):
        verdict(tag_task, input=tag_task.question(""), accepted="thriller")
    assert verdict(tag_task, rejected="thriller").text == "thriller"


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    app.add_middleware(EncodedPaths)

    @app.get("/v1/users/{user}")
    def of_user(user: UserId):
        return [user]

    @app.get("/v1/users/{user}/history/{item}")
    def of_item(user: UserId, item: Id):
        return [user, item]

    return TestClient(app)


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("ann", ["ann"]),
        ("ann%40example.com", ["ann@example.com"]),
        ("a%2Fb", ["a/b"]),
        ("a%2Fhistory%2Fb", ["a/history/b"]),
        ("a%2Fb/history/c%2Fd", ["a/b", "c/d"]),
        ("%E7%8E%8B%20%F0%9F%98%80", ["王 😀"]),
        ("100%25", ["100%"]),
        ("%2541", ["%41"]),
        ("a+b", ["a+b"]),
        ("%20ann%C2%A0/history/%20", ["ann", " "]),
        ("%3Fx%3D1%23y?z=2", ["?x=1#y"]),
    ],
)
def test_any_id_can_be_written_in_a_path(client, path, ids):
    reply = client.get(f"/v1/users/{path}")
    assert reply.json() == ids


def test_a_bare_slash_never_is_part_of_an_id(client):
    assert client.get("/v1/users/a/b").status_code == 404


@pytest.mark.parametrize("path", ["%FF", "%00", "%20", "%E2%80%83%09"])
def test_an_id_that_is_no_text_is_refused(client, path):
    reply = client.get(f"/v1/users/{path}")
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"] == ["path", "user"]


def test_what_no_history_can_hold_is_refused():
    with pytest.raises(ValueError, match="histories of LaMP_1 hold no answers"):
        verdict(TASKS["LaMP_1"], accepted="[1]")
