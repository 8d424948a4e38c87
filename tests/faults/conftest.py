"""One cluster, one application on PostgreSQL and one LLM endpoint, all in real processes, for all tests of faults."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from llm_endpoint import LLM
from patience import until
from postgres import new_database
from running import free_port
from served_app import USERS, WORDS, App

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.tasks import TEXT_TASK

# Of all processes on the cluster: memory that threads take one after the other would look like a leak.
os.environ.setdefault("MALLOC_ARENA_MAX", "2")


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

    def make(store_url: str, serve: dict | None = None, **sections: dict) -> Settings:
        # A busy machine may need seconds for a step that is as well as can be.
        patience = {"step_timeout_s": 15, "generator_timeout_s": 40, "breaker": {"failures": 5, "open_s": 2}}
        tree = {
            "out": str(tmp_path_factory.mktemp("out")),
            "model": {"dir": str(trained)},
            "store": {"url": store_url},
            "generator": {"backend": "openai", "base_url": llm.url, "model": "m", "timeout_s": 5, "retries": 1},
            "fit": {"head": {"kind": "bases"}},
            # So that there is one whose loss can be seen.
            "method": {"rerank": True},
            "serve": {**patience, **(serve or {})},
        }
        return parse_settings({**tree, **sections})

    return make


@pytest.fixture(scope="session")
def database(postgres_server: str) -> Iterator[str]:
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def served(ray_cluster: None, made_settings: Callable[..., Settings], database: str) -> Iterator[App]:
    """The application of all tests here, with every deployment that there is, and with little room in its memories."""
    from hydra_ray.serve.local import serving
    from hydra_ray.store.backends import open_store

    os.environ.setdefault("OPENAI_API_KEY", "none")
    limits = {kind: {"requests_per_minute": 10**9, "requests_per_day": 10**9} for kind in ("tenant", "user")}
    small = dict.fromkeys(("head_cache_mb", "encoding_cache_mb", "index_cache_mb"), 1)
    settings = made_settings(database, auth={"limits": limits}, serve=small)
    store = open_store(settings.store_target)
    store.put_histories({UserKey(settings.tenant, user): _items_of(user) for user in USERS})
    store.close()
    with serving(settings, "127.0.0.1", free_port()) as url:
        yield App(url.removesuffix("/v1"), settings)


def _items_of(user: str) -> list[HistoryItem]:
    """A history that says whose it is."""
    return [HistoryItem(f"h{i}", f"Describe a {word}", f"A {word}, calm ({user})") for i, word in enumerate(WORDS)]


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
