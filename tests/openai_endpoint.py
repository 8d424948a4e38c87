"""A well-mannered OpenAI-compatible endpoint in this process, which answers as tests tell it."""

import json
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from running import running


def completion(*texts, **more):
    """The body of a good reply."""
    choices = [{"index": i, "message": {"role": "assistant", "content": text}} for i, text in enumerate(texts)]
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    return {"id": "x", "object": "chat.completion", "choices": choices, "usage": usage, **more}


class Server(ThreadingHTTPServer):
    """Answers with its replies in turn, the last one for ever, and remembers what it was asked.

    A reply is a body, or (status, body), or a function of the request's body that gives either; a body that
    is text goes out as it is.

    Args:
        host: Address to listen on.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host="127.0.0.1"):
        super().__init__((host, 0), _Handler)
        self.url = f"http://{host}:{self.server_port}/v1"
        self.replies = [completion("fine")]
        self.content_type = "application/json"
        self.asked, self.headers = [], []

    def handle_error(self, request, client_address):
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        self.server.asked.append(body)
        self.server.headers.append(self.headers)
        reply = reply(body) if callable(reply) else reply
        status, reply = reply if isinstance(reply, tuple) else (200, reply)
        payload = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        self.send_response(status)
        self.send_header("content-type", self.server.content_type)
        self.send_header("content-length", str(len(payload)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        """Quiet."""


def serving() -> AbstractContextManager[Server]:
    """A server for as long as the body runs."""
    return running(Server())
