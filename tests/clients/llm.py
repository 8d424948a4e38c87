"""The LLM behind the endpoint that clients ask: it speaks, calls tools, fills in JSON and streams, as requests want."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from running import running

# What its samples say, in turn.
SAYS = ("Gladly, see you there.", "Of course.", "Yes, at noon.", "No, sorry.")
# A request whose last message holds this is refused the first time that it comes.
BUSY = "(busy)"
# What it fills in, of tools' arguments and of JSON.
FILLED = {"city": "Paris", "degrees": 21}


class LLM(ThreadingHTTPServer):
    """Remembers what it was asked.

    Attributes:
        asked: Bodies of all requests, in the order they came.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.asked: list[dict[str, Any]] = []
        self._refused: set[str] = set()
        self._lock = threading.Lock()

    def asked_about(self, text: str) -> list[dict[str, Any]]:
        """Requests whose messages hold a text."""
        return [body for body in self.asked if text in json.dumps(body["messages"])]

    def note(self, body: dict[str, Any]) -> bool:
        """Remembers a request, and says whether it is refused this time."""
        form = json.dumps(body, sort_keys=True)
        with self._lock:
            self.asked.append(body)
            refused = BUSY in str(body["messages"][-1]["content"]) and form not in self._refused
            self._refused.add(form)
        return refused

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: LLM

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.server.note(body):
            return self._send(429, {"error": {"message": "too many requests", "type": "rate_limit_error"}})
        if body.get("stream"):
            return self._stream(_chunks(body))
        return self._send(200, _completion(body))

    def _send(self, status: int, body: dict[str, Any]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _stream(self, chunks: Iterator[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _message(body: dict[str, Any], sample: int) -> tuple[dict[str, Any], str]:
    """What one sample is, and why it ended."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return {"role": "assistant", "content": f"It is {last['content']} there."}, "stop"
    if body.get("tools"):
        called = {"name": body["tools"][0]["function"]["name"], "arguments": json.dumps({"city": FILLED["city"]})}
        calls = [{"id": f"call_{sample}", "type": "function", "function": called}]
        return {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
    if body.get("response_format", {}).get("type") in ("json_object", "json_schema"):
        return {"role": "assistant", "content": json.dumps(FILLED)}, "stop"
    return {"role": "assistant", "content": SAYS[sample % len(SAYS)]}, "stop"


def _usage(body: dict[str, Any]) -> dict[str, int]:
    prompt, answers = 10 * len(body["messages"]), 5 * (body.get("n") or 1)
    return {"prompt_tokens": prompt, "completion_tokens": answers, "total_tokens": prompt + answers}


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    choices = []
    for index in range(body.get("n") or 1):
        message, finish = _message(body, index)
        choices.append({"index": index, "message": message, "finish_reason": finish, "logprobs": None})
    return {**_envelope("chat.completion"), "choices": choices, "usage": _usage(body)}


def _chunks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    envelope = _envelope("chat.completion.chunk")
    for index in range(body.get("n") or 1):
        message, finish = _message(body, index)
        for delta in _deltas(message):
            yield {**envelope, "choices": [{"index": index, "delta": delta, "finish_reason": None}]}
        yield {**envelope, "choices": [{"index": index, "delta": {}, "finish_reason": finish}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**envelope, "choices": [], "usage": _usage(body)}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "" if message["content"] else None}
    for place, word in enumerate((message["content"] or "").split()):
        yield {"content": f" {word}" if place else word}
    for index, call in enumerate(message.get("tool_calls", [])):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        yield {"tool_calls": [{**call, "index": index, "function": {"name": name, "arguments": ""}}]}
        yield {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-llm", "object": kind, "created": 1_770_000_000, "model": "llm"}


def serving() -> AbstractContextManager[LLM]:
    """An LLM for as long as the body runs."""
    return running(LLM())
