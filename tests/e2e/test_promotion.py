"""Versions of the base are promoted, rolled back and refused while requests are answered without a pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from defaults import simulate
from made_up_users import make_head
from running import free_port

from hydra_ray.learn.promote.job import promote_version, roll_back
from hydra_ray.models.base import ADAPTER, ROLES, Base
from hydra_ray.progress import SILENT
from hydra_ray.records import Dataset, UserKey
from hydra_ray.registry.catalog import Catalog, set_alias
from hydra_ray.runtime.models import delete_version, open_catalog, publish
from hydra_ray.serve.local import serving
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.store.aliases import CANDIDATE, PRODUCTION, VersionInUseError
from hydra_ray.store.backends import open_store
from hydra_ray.tasks import TASKS

# Far more than anything here takes on a machine with nothing else to do.
PATIENCE_S = 300
ONE, TWO, WRONG = "one", "two", "wrong"


@pytest.fixture(scope="module")
def people() -> Dataset:
    dataset, _ = simulate(users=3, history=6, queries=1, seed=7, split="dev")
    return dataset


@pytest.fixture(scope="module")
def settings(scorer, people, tmp_path_factory) -> Settings:
    """Two versions of a small base, the first one served, each with heads of the same users."""
    out = tmp_path_factory.mktemp("promotion")
    settings = parse_settings(
        {
            "out": str(out),
            # Each question is asked once: answers then differ by who judges them alone.
            "generator": {"backend": "embedded", "model": "demo", "cache": str(out / "answers")},
            "method": {"shots": 1, "temperature": 1.0, "candidates": 4},
            "registry": {"poll_s": 0.2},
            "data": {"format": "simulated", "task": "demo"},
            "fit": {"head": {"kind": "bases"}},
        }
    )
    catalog, store = open_catalog(settings), open_store(settings.store_url)
    store.put_histories({user.key: user.history for user in people.users})
    for number, version in enumerate((ONE, TWO)):
        base = Base(version, TASKS["demo"], scorer(seed=2 * number + 1), scorer(seed=2 * number + 2))
        publish(catalog, base, settings, [user.key for user in people.users], {})
        for role in ROLES:
            model = base.scorer(role).heads
            heads = {user.key: make_head(model, "lowrank", seed) for seed, user in enumerate(people.users)}
            store.put_heads(version, role, heads)
    catalog.serve_first(ONE, "train")
    set_alias(catalog, CANDIDATE, TWO, "train")
    store.close()
    catalog.close()
    return settings


@pytest.fixture(scope="module")
def url(ray_cluster, settings: Settings) -> Iterator[str]:
    with serving(settings, "127.0.0.1", free_port()) as url:
        yield url


@pytest.fixture(scope="module")
def catalog(settings: Settings) -> Iterator[Catalog]:
    catalog = open_catalog(settings)
    yield catalog
    catalog.close()


def ask(url: str, text: str, user: str, model: str = "hydra") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "user": user}
    return httpx.post(f"{url}/chat/completions", json=body, timeout=PATIENCE_S)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        if time.monotonic() > deadline:
            pytest.fail("it did not come to pass")
        time.sleep(0.05)


@dataclass(frozen=True)
class Reply:
    """What a client got."""

    status: int
    text: str
    user: str
    version: str
    model: str
    head: str
    degraded: list[str]
    scores: tuple[tuple[str, float], ...]


class Load:
    """Clients who ask without a pause, until they are told to stop."""

    def __init__(self, url: str, people: Dataset, clients: int = 3) -> None:
        self.replies: list[Reply] = []
        self._url, self._users = url, people.users
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def seen(self, version: str, times: int = 6) -> Callable[[], bool]:
        """Whether a version answers, after what was answered until now."""
        since = len(self.replies)
        return lambda: sum(reply.version == version for reply in self.replies[since:]) >= times

    def _ask(self, number: int) -> None:
        asked = number
        while not self._end.is_set():
            user = self._users[asked % len(self._users)]
            asked += 1
            answer = ask(self._url, user.queries[0].input, user.key.user)
            if answer.status_code != 200:
                self.replies.append(Reply(answer.status_code, answer.text, user.key.user, "", "", "", [], ()))
                continue
            body = answer.json()
            hydra = body["hydra"]
            scores = tuple((one["text"], round(one["logit"], 2)) for one in hydra["candidates"])
            self.replies.append(
                Reply(200, "", user.key.user, hydra["version"], body["model"], hydra["head"], hydra["degraded"], scores)
            )


def test_promoted_rolled_back_and_promoted_again_under_load_no_request_fails(url, settings, people):
    with Load(url, people) as load:
        until(load.seen(ONE))
        promote_version(settings, CANDIDATE, SILENT, fit=False)
        until(load.seen(TWO))
        roll_back(settings)
        until(load.seen(ONE))
        promote_version(settings, TWO, SILENT, fit=False)
        until(load.seen(TWO))
    assert [reply for reply in load.replies if reply.status != 200] == []
    assert {reply.version for reply in load.replies} == {ONE, TWO}
    assert all(reply.model == f"hydra@{reply.version}" for reply in load.replies)
    assert [reply for reply in load.replies if reply.degraded] == []
    assert {reply.head for reply in load.replies} == {"user"}
    # What names a version was judged by it and by nothing else: a user's scores are always the same ones of it.
    for user in people.users:
        judged = {
            version: {reply.scores for reply in load.replies if (reply.version, reply.user) == (version, user.key.user)}
            for version in (ONE, TWO)
        }
        assert {version: len(scores) for version, scores in judged.items()} == {ONE: 1, TWO: 1}
        assert judged[ONE] != judged[TWO]


def test_a_request_names_an_alias_or_a_version(url, people, catalog):
    user = people.users[0]
    text, served = user.queries[0].input, catalog.succession()[0]
    for model, version in (("hydra", served), ("hydra@production", served), ("hydra@one", ONE), ("hydra@two", TWO)):
        body = ask(url, text, user.key.user, model).json()
        assert (body["hydra"]["version"], body["model"]) == (version, f"hydra@{version}")
        assert (body["hydra"]["degraded"], body["hydra"]["head"]) == ([], "user")
    missing = ask(url, text, user.key.user, "hydra@candidate")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    names = [model["id"] for model in httpx.get(f"{url}/models").json()["data"]]
    assert names == ["hydra", "hydra@one", "hydra@two"]


def test_feedback_teaches_heads_of_the_version_that_is_served(url, people, settings, catalog):
    served = catalog.succession()[0]
    labels = TASKS["demo"].labels
    text = people.users[0].queries[0].input
    feedback = {"input": text, "candidates": labels[:2], "accepted": labels[0], "id": "said"}
    told = httpx.post(f"{url}/users/newcomer/feedback", json=feedback, timeout=PATIENCE_S).json()
    assert (told["learnt"], told["head"]) == (True, "created")
    newcomer, store = UserKey(settings.tenant, "newcomer"), open_store(settings.store_url)
    assert store.head(newcomer, served, ADAPTER) is not None
    store.close()
    assert ask(url, text, "newcomer").json()["hydra"]["head"] == "user"


def test_a_user_without_a_head_on_a_version_gets_the_shared_one(url, people, settings):
    user = people.users[0]
    store = open_store(settings.store_url)
    kept = {role: store.head(user.key, ONE, role) for role in ROLES}
    for role in ROLES:
        store.put_heads(ONE, role, {user.key: None})
    assert ask(url, user.queries[0].input, user.key.user, "hydra@one").json()["hydra"]["head"] == "shared"
    assert ask(url, user.queries[0].input, user.key.user, "hydra@two").json()["hydra"]["head"] == "user"
    for role in ROLES:
        store.put_heads(ONE, role, {user.key: kept[role]})
    store.close()


def test_a_version_that_fails_its_check_is_refused_and_the_old_one_goes_on(url, people, catalog):
    served = catalog.succession()[0]
    good = catalog.registry.manifest(served)
    probes = {
        role: one.model_copy(update={"scores": tuple(-9.0 - s for s in one.scores)})
        for role, one in good.probes.items()
    }
    folder = catalog.registry.fetch(served)

    def write(target: Path) -> None:
        for path in good.files:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes((folder / path).read_bytes())

    catalog.registry.publish(good.model_copy(update={"version": WRONG, "probes": probes}), write)
    with Load(url, people, clients=1) as load:
        set_alias(catalog, PRODUCTION, WRONG, "promote")
        # One is enough for nobody to take it up: who sees that first does not load it at all.
        until(lambda: any((use.version, use.state) == (WRONG, "refused") for use in catalog.aliases.uses()))
        until(load.seen(served))
    assert {(reply.status, reply.version, tuple(reply.degraded)) for reply in load.replies} == {(200, served, ())}
    roll = ask(url, people.users[0].queries[0].input, "somebody", f"hydra@{WRONG}")
    assert roll.status_code == 503
    set_alias(catalog, PRODUCTION, served, "rollback")
    assert ask(url, people.users[0].queries[0].input, "somebody").json()["hydra"]["version"] == served


def test_what_is_served_is_not_deleted(url, catalog):
    served = catalog.succession()[0]
    with pytest.raises(
        VersionInUseError, match=f"version {served} is not deleted: alias production, the running adapter"
    ):
        delete_version(catalog, served)
    assert catalog.registry.has(served)
