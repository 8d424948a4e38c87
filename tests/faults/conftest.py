"""One cluster, one application on PostgreSQL and one LLM endpoint, all in real processes, for all tests of faults."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from patience import until
from postgres import new_database
from running import free_port

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.tasks import TEXT_TASK

USERS = tuple(f"user-{i}" for i in range(8))
WORDS = ["calm", "storm", "silver", "window", "river", "engine", "letter", "garden", "bright", "machine"]


class LLM:
    """The endpoint's process.

    Args:
        folder: Folder for the file that says how it behaves.
    """

    def __init__(self, folder: Path) -> None:
        self._mode, self._port = folder / "mode", free_port()
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self.start()

    def start(self) -> None:
        """Starts it, well-behaved."""
        self.behave("good")
        script = str(Path(__file__).with_name("llm_process.py"))
        self.process = subprocess.Popen([sys.executable, script, str(self._port), str(self._mode)])
        until(self._listens, "the LLM's endpoint")

    def behave(self, mode: str) -> None:
        """From the next request on."""
        fresh = self._mode.with_suffix(".new")
        fresh.write_text(mode)
        fresh.replace(self._mode)

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()

    def _listens(self) -> bool:
        try:
            httpx.post(f"{self.url}/chat/completions", json={"model": "m", "messages": []}).raise_for_status()
        except httpx.HTTPError:
            return False
        return True


@dataclass(frozen=True)
class App:
    """The application as it is served.

    Attributes:
        url: Where it is, without a path.
        settings: Settings that it is served with.
    """

    url: str
    settings: Settings

    def owner(self, number: int) -> str:
        """Who asks the request of a number."""
        return USERS[number % len(USERS)]

    def chat(
        self, client: httpx.Client, number: int, headers: dict[str, str] | None = None, **more: object
    ) -> httpx.Response:
        """Asks for a completion in the way of one of the users."""
        message = {"role": "user", "content": f"Describe a {WORDS[number % len(WORDS)]} number {number}"}
        body = {"model": "hydra", "messages": [message], "user": self.owner(number), **more}
        return client.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)

    def feedback(self, client: httpx.Client, number: int) -> httpx.Response:
        """Tells of one answer that a user took; its id is `said-` and the number."""
        said = {"id": f"said-{number}", "input": f"Describe {WORDS[number % len(WORDS)]} number {number}"}
        path = f"{self.url}/v1/users/{self.owner(number)}/feedback"
        return client.post(path, json={**said, "candidates": ["Calm.", "Quiet."], "accepted": "Calm."})

    def is_well(self) -> bool:
        """Whether all steps answer, and a request has all of it."""
        try:
            ready = httpx.get(f"{self.url}/readyz", timeout=5)
            if ready.status_code != 200 or ready.json()["status"] != "ready":
                return False
            with httpx.Client(timeout=30) as client:
                reply = self.chat(client, 0)
            return reply.status_code == 200 and reply.json()["hydra"]["degraded"] == []
        except (httpx.HTTPError, ValueError):
            return False


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    endpoint = LLM(tmp_path_factory.mktemp("llm"))
    yield endpoint
    endpoint.kill()


@pytest.fixture(scope="session")
def trained(scorer: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a base that is good for nothing but being there."""
    from hydra_ray.models.base import Base

    folder = tmp_path_factory.mktemp("trained")
    Base("v1", TEXT_TASK, scorer(seed=1), scorer(seed=2)).save(folder / "base")
    return folder


@pytest.fixture(scope="session")
def made_settings(trained: Path, llm: LLM, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Makes settings of an application with a store of its own; sections are those of a settings file."""

    def make(store_url: str, **sections: dict) -> Settings:
        tree = {
            "out": str(tmp_path_factory.mktemp("out")),
            "model": {"dir": str(trained)},
            "store": {"url": store_url},
            "generator": {"backend": "openai", "base_url": llm.url, "model": "m", "timeout_s": 5, "retries": 1},
            "fit": {"head": {"kind": "bases"}},
            "serve": {"step_timeout_s": 4, "generator_timeout_s": 40, "breaker": {"failures": 5, "open_s": 2}},
        }
        return parse_settings({**tree, **sections})

    return make


@pytest.fixture(scope="session")
def database(postgres_server: str) -> Iterator[str]:
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def served(ray_cluster: None, made_settings: Callable[..., Settings], database: str) -> Iterator[App]:
    """The application of all tests here."""
    from hydra_ray.serve.local import serving
    from hydra_ray.store.backends import open_store

    os.environ.setdefault("OPENAI_API_KEY", "none")
    settings = made_settings(database)
    store = open_store(settings.store_target)
    items = [HistoryItem(f"h{i}", f"Describe a {word}", f"A {word}, calm.") for i, word in enumerate(WORDS)]
    store.put_histories({UserKey(settings.tenant, user): items for user in USERS})
    store.close()
    with serving(settings, "127.0.0.1", free_port()) as url:
        yield App(url.removesuffix("/v1"), settings)


@pytest.fixture
def app_here(
    trained: Path, made_settings: Callable[..., Settings], database: str, llm: LLM, scorer: Callable
) -> Iterator[App]:
    """The ingress in this process, with the true LLM, store and learner in theirs: what fails here is one of these."""
    # The ingress without Ray is what its unit tests have.
    sys.path.append(str(Path(__file__).parents[1] / "unit" / "serve"))
    from made_app import Handle, Served

    from hydra_ray.learn.heads.online import OnlineLearner
    from hydra_ray.runtime.generators import make_backend
    from hydra_ray.store.backends import open_store

    os.environ.setdefault("OPENAI_API_KEY", "none")
    settings = made_settings(database, auth={"mode": "off"})
    made, store = Served(settings), open_store(settings.store_target)
    learner = OnlineLearner(store, "v1", TEXT_TASK, scorer(seed=2), settings)
    backend = make_backend(settings, retries=None)
    made.generator.answer = lambda request, tenant: backend(request)
    made.adapter.learn = Handle(lambda *said: asyncio.to_thread(learner.learn, *said))
    port = free_port()
    config = uvicorn.Config(made.client.app, host="127.0.0.1", port=port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    app = App(f"http://127.0.0.1:{port}", settings)
    until(app.is_well, "the application before a test")
    yield app
    llm.behave("good")
    until(app.is_well, "the application after a test")
    server.should_exit = True
    thread.join()
    store.close()


@pytest.fixture
def app(served: App, llm: LLM) -> Iterator[App]:
    """The application, well before the test and well again after it."""
    until(served.is_well, "the application before a test")
    yield served
    llm.behave("good")
    until(served.is_well, "the application after a test")
