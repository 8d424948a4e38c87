"""Plain `curl` against hydra-ray as it is served."""

import json

from clients import REMEMBERED, USER
from clients.environments import curl, run
from clients.llm import SAYS

_JSON = ["-H", "Content-Type: application/json"]


def body(text: str, **more) -> list[str]:
    said = [{"role": "user", "content": text}]
    return ["-d", json.dumps({"model": "hydra", "user": USER, "messages": said, **more})]


def test_a_reply(url):
    reply = json.loads(run([curl(), "-sS", "--fail", f"{url}/chat/completions", *_JSON, *body("Curl?")], url))
    assert reply["object"] == "chat.completion"
    assert reply["choices"][0]["message"]["content"] in SAYS
    assert [item["input"] for item in reply["hydra"]["history"]] == [REMEMBERED]


def test_a_stream_comes_as_events(url):
    words = [curl(), "-sS", "-N", "-i", f"{url}/chat/completions", *_JSON, *body("Curl -N?", stream=True)]
    head, _, events = run(words, url).replace("\r\n", "\n").partition("\n\n")
    assert "content-type: text/event-stream" in head.lower()
    *chunks, done = events.strip().split("\n\n")
    assert done == "data: [DONE]"
    parsed = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    assert {chunk["object"] for chunk in parsed} == {"chat.completion.chunk"}
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in parsed) in SAYS
    assert len(parsed) > 3


def test_an_error_has_its_status_and_its_form(url):
    words = [curl(), "-sS", "-w", "\n%{http_code}", f"{url}/chat/completions", *_JSON, "-d", '{"model": "hydra"}']
    error, status = run(words, url).rsplit("\n", 1)
    assert status == "400"
    assert json.loads(error)["error"]["param"] == "messages"
