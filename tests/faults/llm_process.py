"""An LLM endpoint in a process of its own, which tests kill, and which behaves as a file says.

`python llm_process.py PORT FILE` serves until it is killed; the file holds one of `MODES`, looked up for each request.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODES = ("good", "slow", "hangs", "drips", "lies", "fails")
_SLOW_S = 0.3


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
        self._send(200, json.dumps(reply(asked, lies=mode == "lies")).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _send(self, status: int, payload: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

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
    texts = [("Calm.", "Quiet.", "Soft.")[i % 3] for i in range(n)]
    choices = [
        {"index": 0 if lies else i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    return {"id": "x", "object": "chat.completion", "model": asked["model"], "choices": choices, "usage": usage}


class Server(ThreadingHTTPServer):
    """The endpoint."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, mode: Path) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.mode = mode

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is no news."""


if __name__ == "__main__":
    Server(int(sys.argv[1]), Path(sys.argv[2])).serve_forever()
