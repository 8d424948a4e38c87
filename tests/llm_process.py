"""An LLM endpoint in a process of its own, which tests kill, and which behaves as a file says.

`python llm_process.py HOST PORT FILE` serves until it is killed; the file holds one of `MODES`, looked up for each
request.
Its answers end with the last `(user-...)` that it was told of, so that tests see whose history reached it. Asked to
stream about something ENDLESS, it goes on until the client hangs up.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODES = ("good", "slow", "hangs", "drips", "lies", "fails")
ENDLESS = "endless"
_SLOW_S = 0.3
# About as fast as an LLM says its tokens.
_PIECE_S = 0.02


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions, one connection each."""

    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        mode = self.server.mode.read_text().strip()
        if mode == "hangs":
            while self.server.mode.read_text().strip() == "hangs":
                time.sleep(0.05)
            return
        if mode == "drips":
            self._drip()
            return
        if mode == "fails":
            self._send(500, json.dumps({"error": {"message": "no luck", "type": "server_error"}}).encode())
            return
        if mode == "slow":
            time.sleep(_SLOW_S)
        if asked.get("stream"):
            self._stream(asked)
            return
        self._send(200, json.dumps(reply(asked, lies=mode == "lies")).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _send(self, status: int, payload: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _stream(self, asked: dict) -> None:
        """Says an answer word by word; one without an end until somebody hangs up."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        words = itertools.repeat("and") if ENDLESS in json.dumps(asked["messages"]) else text(asked, 0).split()
        for word in words:
            self._event({"index": 0, "delta": {"role": "assistant", "content": f"{word} "}, "finish_reason": None})
            time.sleep(_PIECE_S)
        self._event({"index": 0, "delta": {}, "finish_reason": "stop"})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, choice: dict) -> None:
        chunk = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def _drip(self) -> None:
        """A byte now and then, so that no single read takes long, until somebody hangs up or the mode is another."""
        self.send_response(200)
        self.send_header("content-length", str(10**9))
        self.end_headers()
        while self.server.mode.read_text().strip() == "drips":
            self.wfile.write(b" ")
            time.sleep(0.05)


def reply(asked: dict, *, lies: bool) -> dict:
    """A good reply; or one of more choices than were asked for, at odds with themselves, and impossible counts."""
    n = asked.get("n") or 1
    usage = {"prompt_tokens": 11, "completion_tokens": 2 * n, "total_tokens": 11 + 2 * n}
    if lies:
        n, usage = n + 3, {"prompt_tokens": -5, "completion_tokens": 10**12, "total_tokens": 3}
    choices = [
        {
            "index": 0 if lies else i,
            "message": {"role": "assistant", "content": text(asked, i)},
            "finish_reason": "stop",
        }
        for i in range(n)
    ]
    return {"id": "x", "object": "chat.completion", "model": asked["model"], "choices": choices, "usage": usage}


def text(asked: dict, number: int) -> str:
    """An answer, with the last user in brackets that the messages name."""
    names = re.findall(r"\((user-[\w-]+)\)", json.dumps(asked["messages"]))
    return ("Calm", "Quiet", "Soft")[number % 3] + (f" ({names[-1]})." if names else ".")


class Server(ThreadingHTTPServer):
    """The endpoint."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, port: int, mode: Path) -> None:
        super().__init__((host, port), Handler)
        self.mode = mode

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is no news."""


if __name__ == "__main__":
    Server(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])).serve_forever()
