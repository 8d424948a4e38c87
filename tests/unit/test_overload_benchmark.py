"""`benchmarks/overload.py` and `soak.py` count what a server of known behaviour does."""

import asyncio
import itertools
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from running import running

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        # By turns, so that a slow machine sees refusals, too.
        if self.server.refuses and next(self.server.turns) % 4 == 3:
            self.reply(429, {"error": {"message": "full"}})
            return
        time.sleep(0.05)
        next(self.server.answers)
        self.reply(200, {"hydra": {"degraded": []}})

    def reply(self, status, body):
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.turns, self.answers, self.refuses = itertools.count(), itertools.count(), False
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    with running(Server()) as server:
        yield server


def test_overload_tells_refusals_from_answers_and_failures(server, tmp_path):
    import overload

    server.refuses = True

    overload.main([server.url, "--small", "--device", "cpu", "--json", str(tmp_path / "overload.json")])
    found = json.loads((tmp_path / "overload.json").read_text())
    assert found["capacity_per_s"] > 0
    assert found["offered_per_s"] == pytest.approx(3 * found["capacity_per_s"])
    assert {"200", "429"} <= set(found["statuses"])
    assert found["5xx"] == 0
    assert found["whole_of_answers"] == 1


def test_answers_that_come_together_are_all_counted(server, monkeypatch):
    import overload

    # A clock that goes on by a second whenever somebody looks: first for the end, then for the begin.
    ticks = itertools.count()
    monkeypatch.setattr(overload, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))

    async def measured():
        async with httpx.AsyncClient(timeout=60) as client:
            return await overload.closed_loop(client, server.url, 200, 0)

    per_s = asyncio.run(measured())
    looked_last = next(ticks) - 1
    assert round(per_s * (looked_last - 1)) == next(server.answers)


def test_soak_says_where_no_replica_is_seen(server, tmp_path, monkeypatch):
    import soak

    monkeypatch.setattr(soak, "replicas_mib", dict)
    with pytest.raises(SystemExit, match="no replicas of hydra-ray"):
        soak.main([server.url, "--small", "--device", "cpu", "--json", str(tmp_path / "soak.json")])
    sizes = iter(range(100, 200))
    monkeypatch.setattr(soak, "replicas_mib", lambda: {"Ingress 1": float(next(sizes))})
    monkeypatch.setattr(soak, "TOGETHER", 2)
    soak.main([server.url, "--small", "--device", "cpu", "--json", str(tmp_path / "soak.json")])
    found = json.loads((tmp_path / "soak.json").read_text())
    assert (found["requests"], found["unanswered"]) == (300, 0)
    assert found["memory_mib"] == {"Ingress 1": [100.0, 101.0, 102.0]}
