"""The probe of a pod says which step is not ready, in words that end up in the pod's events."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from running import free_port

from hydra_ray.k8s.probe import main


@pytest.fixture
def answering():
    """A server whose answer tests choose."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = server.answer
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = (200, b"{}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server) -> int:
    return main([f"http://127.0.0.1:{server.server_address[1]}/readyz"])


def test_what_answers_is_ready(answering, capsys):
    assert ask(answering) == 0
    assert capsys.readouterr().out == ""


def test_the_steps_that_fail_are_named(answering, capsys):
    steps = {"store": "fails", "retriever": "answers", "generator": "fails"}
    answering.answer = (503, json.dumps({"status": "unavailable", "steps": steps}).encode())
    assert ask(answering) == 1
    assert capsys.readouterr().out == "not ready: store, generator fail\n"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"steps": 1}', b""])
def test_another_answer_is_told_by_its_status(answering, capsys, body):
    answering.answer = (500, body)
    assert ask(answering) == 1
    assert capsys.readouterr().out.endswith("/readyz answers 500\n")


def test_a_pod_where_nothing_listens_is_not_ready(capsys):
    assert main([f"http://127.0.0.1:{free_port()}/readyz"]) == 1
    assert "does not answer" in capsys.readouterr().out
