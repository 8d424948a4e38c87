"""An LLM endpoint that behaves as real ones were reported to; the first part of the path names its quirks.

`/zh+n1+think/v1` takes one sample a request, reasons aloud and speaks Chinese. `python quirky_endpoint.py PORT` serves
it until it is killed.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from running import running

ANSWERS = {
    "zh": ("好的没问题", "可以谢谢", "不行很抱歉", "稍后再说吧"),
    "en": ("sure no problem", "yes thank you", "sorry that is impossible", "let us talk later"),
}
KNOWN = {"model", "messages", "n", "temperature", "max_tokens", "max_completion_tokens", "seed", "top_p"}


class RefusedError(Exception):
    """Status, body, and whether it is OpenAI's form, in which other quirks may wrap it."""

    def __init__(self, status, message, **more):
        super().__init__(message)
        self.status, self.message, self.more = status, message, more


def _n1(r):
    if (r.get("n") or 1) > 1:
        raise RefusedError(400, "'n' : number must be at most 1", type="invalid_request_error")


def _n_by_location(r):
    if "n" in r:
        raise RefusedError(
            422, [{"type": "extra_forbidden", "loc": ["body", "n"], "msg": "Extra inputs are not permitted"}]
        )


def _candidates(r):
    if (r.get("n") or 1) > 1:
        raise RefusedError(400, "Multiple candidates is not enabled for this model")


def _mct(r):
    if "max_tokens" in r:
        raise RefusedError(
            400,
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            code="unsupported_parameter",
            param="max_tokens",
        )


def _mt(r):
    if "max_completion_tokens" in r:
        raise RefusedError(
            422,
            [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "max_completion_tokens"],
                    "msg": "Extra inputs are not permitted",
                }
            ],
        )


def _temp1(r):
    if r.get("temperature", 1) != 1:
        raise RefusedError(
            400,
            f"Unsupported value: 'temperature' does not support {r['temperature']} with this model. "
            "Only the default (1) value is supported.",
            code="unsupported_value",
            param="temperature",
        )


def _positive(r):
    if r.get("temperature", 1) <= 0:
        raise RefusedError(422, "Input validation error: `temperature` must be strictly positive")


def _noseed(r):
    if "seed" in r:
        raise RefusedError(422, "seed: extra inputs are not permitted")


def _strict(r):
    if "seed" in r:
        raise RefusedError(400, "Unrecognized request argument supplied")


def _nostop(r):
    if "stop" in r:
        raise RefusedError(400, "Unsupported parameter: 'stop' is not supported with this model.", param="stop")


def _noformat(r):
    if "response_format" in r:
        raise RefusedError(422, "response_format: extra inputs are not permitted")


def _badschema(r):
    if "response_format" in r:
        raise RefusedError(
            400,
            "Invalid schema for response_format 'x': In context=(), 'minLength' is not permitted.",
            param="response_format",
        )


def _noschema(r):
    if r.get("response_format", {}).get("type") == "json_schema":
        raise RefusedError(400, "This model does not support response format `json_schema`.")


def _oddformat(r):
    if "response_format" in r:
        raise RefusedError(400, "I would rather not.")


def _jsondies(r):
    if "response_format" in r:
        raise RefusedError(500, "Internal server error")


def _nosystem(r):
    if any(message["role"] == "system" for message in r["messages"]):
        raise RefusedError(400, "System role not supported")


def _onesystem(r):
    if any(message["role"] == "system" for message in r["messages"][1:]):
        raise RefusedError(400, "System message must be at the beginning.")


def _nodev(r):
    if any(message["role"] == "developer" for message in r["messages"]):
        raise RefusedError(400, "Unexpected message role.")


def _alternate(r):
    roles = [message["role"] for message in r["messages"]]
    roles = roles[1:] if roles[0] == "system" else roles
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(roles)):
        raise RefusedError(400, "Conversation roles must alternate user/assistant/user/assistant/...")


def _stops(status, message, **more):
    def refuse(r):
        raise RefusedError(status, message, **more)

    return refuse


# Quirks that refuse requests of some form, by name.
REFUSING = {
    "n1": _n1,
    "nloc": _n_by_location,
    "candidates": _candidates,
    "mct": _mct,
    "mt": _mt,
    "temp1": _temp1,
    "positive": _positive,
    "noseed": _noseed,
    "strict": _strict,
    "nostop": _nostop,
    "noformat": _noformat,
    "badschema": _badschema,
    "noschema": _noschema,
    "oddformat": _oddformat,
    "jsondies": _jsondies,
    "nosystem": _nosystem,
    "onesystem": _onesystem,
    "nodev": _nodev,
    "alternate": _alternate,
    "filter": _stops(400, "The response was filtered due to the content management policy.", code="content_filter"),
    "quota": _stops(429, "You exceeded your current quota, please check your plan.", code="insufficient_quota"),
    "nomodel": _stops(404, "The model `m` does not exist or you do not have access to it.", code="model_not_found"),
    "long": _stops(400, "This model's maximum context length is 10 tokens.", code="context_length_exceeded"),
    "odd": _stops(400, "I would rather not."),
}
# Quirks of tests whose next reply is cut within its reasoning.
THINKING_CUT: set[str] = set()
# Forms of errors: what a refusal's body is made of its message.
WRAPPING = {
    "edetail": lambda message, more: {"detail": message},
    "estring": lambda message, more: {"error": message if isinstance(message, str) else message[0]["msg"] + ": n"},
    "eobject": lambda message, more: {"object": "error", "message": message, **more},
    "enested": lambda message, more: {"object": "error", "message": {"detail": message}},
    "egoogle": lambda message, more: [{"error": {"message": message, **more}}],
    "eraw": lambda message, more: {
        "error": {
            "message": "Provider returned error",
            "metadata": {"raw": json.dumps({"error": {"message": message}})},
        }
    },
}


class QuirkyEndpoint(ThreadingHTTPServer):
    """Remembers what it was asked, by quirks.

    Attributes:
        asked: Bodies of all requests, by the first part of their path.
        refused: How many of them were refused.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.asked: dict[str, list[dict]] = {}
        self.refused: Counter[str] = Counter()

    def url(self, *quirks: str) -> str:
        """Where it has these quirks."""
        return f"http://127.0.0.1:{self.server_port}/{'+'.join(quirks) or 'plain'}/v1"

    def handle_error(self, request, client_address):
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Quiet."""

    def do_GET(self):
        name = self.path.split("/")[1]
        owner = "vllm" if "isvllm" in name.split("+") else "someone"
        if self.path.endswith("/models"):
            return self._send(200, {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner}]})
        return self._send(404, {"error": {"message": "not found"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        name = self.path.split("/")[1]
        quirks = name.split("+")
        self.server.asked.setdefault(name, []).append(body)
        if not self.path.endswith("/v1/chat/completions"):
            return self._send(404, "<html><head><title>404 Not Found</title></head>nginx</html>", "text/html")
        if "html" in quirks:
            return self._send(200, "<!doctype html><html><title>Sign in</title>please</html>", "text/html")
        try:
            for quirk in quirks:
                REFUSING.get(quirk, lambda r: None)(body)
        except RefusedError as refused:
            self.server.refused[name] += 1
            wrap = next((WRAPPING[quirk] for quirk in quirks if quirk in WRAPPING), None)
            error = wrap(refused.message, refused.more) if wrap else _openai(refused)
            return self._send(200 if "e200" in quirks else refused.status, error)
        return self._send(200, _reply(body, quirks))

    def _send(self, status, body, content_type="application/json"):
        payload = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def _openai(refused):
    return (
        {"error": {"message": refused.message, **refused.more}}
        if isinstance(refused.message, str)
        else {"detail": refused.message}
    )


def _reply(body, quirks):
    count = 1 if "ignen" in quirks else body.get("n") or 1
    count = min(count, 3) if "cap3" in quirks else count
    greedy = body.get("temperature", 1) == 0
    draw = random.Random(json.dumps(body["messages"]) if greedy else body.get("seed"))
    words = [draw.choice(ANSWERS["zh" if "zh" in quirks else "en"]) for _ in range(count)]
    choices = [{"index": i, "finish_reason": "stop", "message": _message(w, quirks)} for i, w in enumerate(words)]
    if "filterone" in quirks:
        choices[0] = {"index": 0, "finish_reason": "content_filter", "message": {"role": "assistant", "content": ""}}
    reply = {"id": "x", "object": "chat.completion", "model": "m", "choices": choices}
    if "nousage" not in quirks:
        reply["usage"] = {"prompt_tokens": 10, "completion_tokens": 5 * count, "total_tokens": 10 + 5 * count}
    return reply


def _message(word, quirks):
    message = {"role": "assistant", "content": word}
    if "think" in quirks:
        message["content"] = f"<think>\nthe user likes {word[:2]}\n</think>\n\n{word}"
    if "thinkclosed" in quirks:
        message["content"] = f"the user likes it short\n</think>\n\n{word}"
    if "thinkcut" in quirks or THINKING_CUT & set(quirks):
        message["content"] = "<think>\nthe user likes short and I should consider"
    if "reasoning" in quirks:
        message["reasoning_content"] = "the user likes it short"
    if "null" in quirks:
        message |= {"content": None, "reasoning_content": "the user likes it short"}
    if "parts" in quirks and message["content"] is not None:
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
        message["content"] = [thinking, {"type": "text", "text": message["content"]}]
    if "declines" in quirks:
        message |= {"content": None, "refusal": "I cannot help with that."}
    return message


def serving() -> AbstractContextManager[QuirkyEndpoint]:
    """A server for as long as the body runs."""
    return running(QuirkyEndpoint())


if __name__ == "__main__":
    QuirkyEndpoint(int(sys.argv[1])).serve_forever()
