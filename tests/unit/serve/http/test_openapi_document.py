"""The OpenAPI document is true: what is answered, and what is taken, is as it says."""

import json

import jsonschema
import pytest
from made_app import SAID
from openapi_spec_validator import validate
from routes import OPEN, REQUESTS, in_document, request

from hydra_ray.serve.openapi.document import ANSWERS, operations

BODY = {"model": "hydra", "messages": SAID[-1:]}
CHAT = ("POST", "/v1/chat/completions")


@pytest.fixture(scope="module")
def app(served):
    return served(method="rag")


@pytest.fixture(scope="module")
def document(app):
    return app.client.get("/openapi.json").json()


def problems(document, schema, value):
    """What of a value is not as a schema of the document says."""
    whole = {**schema, "components": document["components"]}
    return [error.message for error in jsonschema.Draft202012Validator(whole).iter_errors(value)]


def answer_problems(document, route, reply):
    """What of a response is not as the document says."""
    method, path = route
    told = document["paths"][path][method.lower()]["responses"][str(reply.status_code)]
    kind = reply.headers["Content-Type"].partition(";")[0]
    assert "X-Request-ID" in reply.headers
    schema = told["content"][kind]["schema"]
    return problems(document, schema, reply.json()) if kind == "application/json" else []


def body_schema(document, route):
    method, path = route
    return document["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]["schema"]


def test_it_is_a_valid_document(document):
    validate(document)


def test_it_has_every_route_with_its_answer_errors_and_who_may_ask(app, document):
    assert in_document(app) == {*REQUESTS, *OPEN}
    assert {(verb, path) for verb, path, _ in operations(document)} == set(ANSWERS)
    for verb, path, operation in operations(document):
        assert "422" not in operation["responses"]
        assert {"400", "401", "403", "404", "429", "500", "503"} <= set(operation["responses"])
        assert operation["security"] == ([] if (verb.upper(), path) in OPEN else [{"key": []}])
        names = [parameter["name"] for parameter in operation["parameters"]]
        assert [name for name in names if f"{{{name}}}" in path] == [
            part[1:-1] for part in path.split("/") if "{" in part
        ]
        assert "X-Request-ID" in names
        assert ("requestBody" in operation) == ("json" in REQUESTS.get((verb.upper(), path), {}))


@pytest.mark.parametrize("route", [*REQUESTS, *sorted(OPEN)], ids=str)
def test_what_a_route_answers_is_as_it_says(app, document, route):
    more = REQUESTS.get(route, {})
    reply = app.client.request(*route) if route in OPEN else request(app, route)
    assert answer_problems(document, route, reply) == []
    if "json" in more:
        assert problems(document, body_schema(document, route), more["json"]) == []
        empty = app.client.request(route[0], route[1].replace("{user}", "ann").replace("{key}", "k"), content=b"")
        assert empty.status_code == 400
        assert answer_problems(document, route, empty) == []


def test_a_key_that_is_made_shown_and_revoked_is_as_it_says(app, document):
    made = request(app, ("POST", "/v1/admin/keys"))
    assert made.status_code == 200
    for route in [route for route in REQUESTS if "{key}" in route[1]]:
        reply = request(app, route, key=made.json()["id"])
        assert answer_problems(document, route, reply) == []


def test_an_answer_with_everything_in_it_is_as_it_says(app, document):
    app.client.post("/v1/users/ann/feedback", json={"input": "x", "accepted": "y"})
    reply = app.ask(SAID, user="ann", n=3, hydra={"method": "hydra"})
    assert reply.json()["hydra"]["candidates"]
    assert answer_problems(document, CHAT, reply) == []
    for path in ("/v1/users/{user}", "/v1/users/{user}/history", "/v1/users/{user}/export"):
        assert answer_problems(document, ("GET", path), request(app, ("GET", path))) == []


def test_so_is_every_chunk_of_a_stream(app, document):
    reply = app.ask(SAID, user="ann", stream=True, stream_options={"include_usage": True})
    *events, done = reply.text.strip().split("\n\n")
    assert done == "data: [DONE]"
    chunk = {"$ref": "#/components/schemas/ChatCompletionChunk"}
    assert [problems(document, chunk, json.loads(event.removeprefix("data: "))) for event in events] == [[]] * len(
        events
    )
    assert answer_problems(document, CHAT, reply) == []


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        (dict.fromkeys(["user", "n", "stop", "seed", "logit_bias", "stream", "hydra", "response_format"]), True),
        ({"stop": "END", "temperature": 0, "n": 2, "logit_bias": {"7": 1}}, True),
        ({"stop": ["a", "b"], "response_format": {"type": "json_object"}, "unheard_of": [1]}, True),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": None}]}, True),
        ({"messages": "Hi"}, False),
        ({"messages": []}, False),
        ({"messages": [{"role": "user", "content": 5}]}, False),
        ({"messages": [{"content": "Hi"}]}, False),
        ({"n": 0}, False),
        ({"n": "2"}, False),
        ({"stop": list("abcde")}, False),
        ({"stop": ""}, False),
        ({"temperature": 3}, False),
        ({"verbosity": "loud"}, False),
        ({"stream": "yes"}, False),
        ({"hydra": {"metod": "rag"}}, False),
    ],
)
def test_what_a_body_may_hold_is_what_is_taken(app, document, changes, taken):
    body = {**BODY, **changes}
    reply = app.client.post(CHAT[1], json=body)
    assert (reply.status_code == 200) == taken, reply.text
    assert (problems(document, body_schema(document, CHAT), body) == []) == taken
    assert answer_problems(document, CHAT, reply) == []


def test_nobody_else_is_told_of_it(served):
    reply = served().client_at("192.0.2.1").get("/openapi.json")
    assert reply.status_code == 403
