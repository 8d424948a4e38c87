"""An OpenAI-compatible endpoint in this process that says its answer piece by piece, each when a test lets it."""

import json
import queue
import select
import socket
import threading
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from running import running

USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}


def chunk(delta=None, finish=None, **more):
    """A chunk with its only choice."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}


def words(*texts, finish="stop", usage=USAGE):
    """The chunks of a good answer, its end included."""
    told = [] if usage is None else [{"id": "x", "choices": [], "usage": usage}]
    return [chunk({"role": "assistant"}), *(chunk({"content": text}) for text in texts), chunk(finish=finish), *told]


class StreamingServer(ThreadingHTTPServer):
    """Sends what `let` puts, and says when a client hung up.

    Attributes:
        refusals: (status, body) answered in turn before anything is streamed.
        sent: Number of events sent.
        left: Set when a client closed the connection before the end.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.events, self.refusals, self.asked = queue.Queue(), [], []
        self.sent, self.left = 0, threading.Event()

    def let(self, *events, end=False):
        """Lets events go: chunks, or lines as they are; `end` lets the answer end after them."""
        for event in events:
            self.events.put(event)
        if end:
            self.events.put("[DONE]")
            self.events.put(None)

    def break_off(self):
        """Closes the connection amid the answer."""
        self.events.put(None)

    def handle_error(self, request, client_address):
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        if self.server.refusals:
            self._answer(*self.server.refusals.pop(0))
        elif body.get("stream"):
            self._stream()

    def _answer(self, status, body):
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        while (event := self._next()) is not None:
            text = event if isinstance(event, str) else json.dumps(event)
            # First, since the client may read it before this goes on.
            self.server.sent += 1
            self.wfile.write(f"data: {text}\n\n".encode())
        self.close_connection = True

    def _next(self):
        """The next event; None at the end, or when the client has left."""
        while True:
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                self.server.left.set()
                return None
            try:
                return self.server.events.get(timeout=0.01)
            except queue.Empty:
                continue

    def log_message(self, *_):
        """Quiet."""


def streaming() -> AbstractContextManager[StreamingServer]:
    """A server for as long as the body runs."""
    return running(StreamingServer())
