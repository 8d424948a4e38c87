"""Versions of the base are promoted, rolled back and refused while requests are answered without a pause."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from defaults import simulate
from patience import PATIENCE_S, until
from running import free_port
from torch.testing import assert_close

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.learn.heads.replay import replay_users
from hydra_ray.learn.promote.job import catch_up, promote_version, roll_back
from hydra_ray.models.base import ADAPTER, ROLES, Base
from hydra_ray.progress import SILENT
from hydra_ray.records import UserKey
from hydra_ray.registry.catalog import Catalog, set_alias
from hydra_ray.runtime.models import delete_version, open_catalog, publish
from hydra_ray.serve.local import serving
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.store.aliases import CANDIDATE, PRODUCTION, VersionInUseError
from hydra_ray.store.backends import open_store
from hydra_ray.tasks import TASKS

PER_SECOND = 6
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
            "fit": {"head": {"kind": "bases"}, "mode": "zero-call"},
        }
    )
    catalog, store = open_catalog(settings), open_store(settings.store_url)
    store.put_histories({user.key: user.history for user in people.users})
    for number, version in enumerate((ONE, TWO)):
        base = Base(version, TASKS["demo"], scorer(seed=2 * number + 1), scorer(seed=2 * number + 2))
        publish(catalog, base, settings, [user.key for user in people.users], {})
        replay_users(settings, catalog.registry.fetch(version), store, [user.key for user in people.users], SILENT)
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


class Load:
    """Requests that begin at fixed times, whether those before are answered or not."""

    def __init__(self, url: str, people: Dataset) -> None:
        self.replies: list[Reply] = []
        self._url, self._users = url, people.users
        self._end = threading.Event()
        self._sent: list[Future[None]] = []
        self._clients = ThreadPoolExecutor(64)
        self._clock = threading.Thread(target=self._send)

    def __enter__(self) -> Load:
        self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._clock.join()
        self._clients.shutdown()
        for one in self._sent:
            # What went wrong in a client is this test's.
            one.result()

    def seen(self, version: str) -> Callable[[], bool]:
        """Whether a version answers for a second, after what was answered until now."""
        since = len(self.replies)
        return lambda: sum(reply.version == version for reply in self.replies[since:]) >= PER_SECOND

    def _send(self) -> None:
        due = time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            # Where this thread is late, those that it missed follow at once.
            due += 1 / PER_SECOND
            self._sent.append(self._clients.submit(self._ask, self._users[len(self._sent) % len(self._users)]))

    def _ask(self, user: User) -> None:
        answer = ask(self._url, user.queries[0].input, user.key.user)
        if answer.status_code != 200:
            self.replies.append(Reply(answer.status_code, answer.text, user.key.user, "", "", "", []))
            return
        body = answer.json()
        hydra = body["hydra"]
        about = hydra["version"], body["model"], hydra["head"], hydra["degraded"]
        self.replies.append(Reply(200, "", user.key.user, *about))


class Talk:
    """What users say of answers and delete, while versions change."""

    def __init__(self, url: str, people: Dataset) -> None:
        self._url, self._texts = url, [user.queries[0].input for user in people.users]
        self.said: dict[str, list[str]] = {}
        self._count = 0

    def say(self, user: str) -> None:
        for _ in range(3):
            told = self.said.setdefault(user, [])
            labels = TASKS["demo"].labels
            self._count += 1
            item, label = f"said-{self._count:02d}", labels[self._count % 2]
            feedback = {"input": self._texts[self._count % 3], "candidates": labels[:4], "accepted": label, "id": item}
            answer = httpx.post(f"{self._url}/users/{user}/feedback", json=feedback, timeout=PATIENCE_S)
            assert (answer.status_code, answer.json()["learnt"]) == (200, True), answer.text
            told.append(item)

    def forget(self, user: str, item: str) -> None:
        answer = httpx.delete(f"{self._url}/users/{user}/history/{item}", timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        self.said[user].remove(item)

    def leave(self, user: str) -> None:
        assert httpx.delete(f"{self._url}/users/{user}", timeout=PATIENCE_S).status_code == 200
        del self.said[user]


def assert_as_fitted_afresh(settings: Settings, catalog: Catalog, version: str, folder: Path) -> None:
    """Computes a version's heads in a copy of the store without any, and compares."""
    copied = folder / f"{version}.db"
    with closing(sqlite3.connect(settings.out / "users.db")) as live, closing(sqlite3.connect(copied)) as copy:
        live.backup(copy)
    with closing(open_store(f"sqlite:///{copied}")) as store:
        users = store.users_with_head(version, ADAPTER)
        heads = {user: store.head(user, version, ADAPTER) for user in users}
        observed = store.observations(users, version, ADAPTER)
        for role in ROLES:
            store.put_heads(version, role, dict.fromkeys(users))
            store.put_observations(version, role, {user: {} for user in users})
        replay_users(settings, catalog.registry.fetch(version), store, users, SILENT)
        assert users
        for user in users:
            fresh = store.head(user, version, ADAPTER)
            assert store.observations([user], version, ADAPTER)[user].keys() == observed[user].keys()
            assert (heads[user].kind, heads[user].about) == (fresh.kind, fresh.about)
            # Encoded together texts come out a little otherwise than alone, and are kept in float16.
            assert_close(heads[user].tensors, fresh.tensors, rtol=1e-2, atol=1e-3)


def test_promoted_rolled_back_and_promoted_again_under_load_nothing_fails_and_nothing_is_lost(
    url, settings, people, catalog, tmp_path
):
    known, talk = people.users[0].key.user, Talk(url, people)
    with Load(url, people) as load:
        until(load.seen(ONE), "answers of that version")
        for user in (known, "comes", "goes"):
            talk.say(user)
        promote_version(settings, CANDIDATE, SILENT, fit=True)
        until(load.seen(TWO), "answers of that version")
        for user in (known, "comes", "comes later"):
            talk.say(user)
        talk.leave("goes")
        talk.forget("comes", talk.said["comes"][0])
        catch_up(settings, roll_back(settings), SILENT)
        until(load.seen(ONE), "answers of that version")
        for user in (known, "comes later"):
            talk.say(user)
        assert_as_fitted_afresh(settings, catalog, ONE, tmp_path)
        talk.forget(known, talk.said[known][1])
        promote_version(settings, TWO, SILENT, fit=True)
        until(load.seen(TWO), "answers of that version")
        talk.say("comes")
        assert_as_fitted_afresh(settings, catalog, TWO, tmp_path)
    assert [reply for reply in load.replies if reply.status != 200] == []
    assert {reply.version for reply in load.replies} == {ONE, TWO}
    assert all(reply.model == f"hydra@{reply.version}" for reply in load.replies)
    assert [reply for reply in load.replies if reply.degraded] == []
    assert {reply.head for reply in load.replies} == {"user"}
    with closing(open_store(settings.store_target)) as store:
        keys = {user: UserKey(settings.tenant, user) for user in (*talk.said, "goes")}
        kept = {user: [item.id for item in store.history(key)] for user, key in keys.items()}
        events = store.feedback_events(keys.values())
        for user, told in talk.said.items():
            assert [item for item in kept[user] if item.startswith("said-")] == told
            assert sorted(event.item_id for event in events[keys[user]]) == told
        assert (kept["goes"], events.get(keys["goes"], [])) == ([], [])
        for version in (ONE, TWO):
            assert store.head(keys["goes"], version, ADAPTER) is None
            assert all(store.head(keys[user], version, ADAPTER) is not None for user in talk.said)
        history = {item.id for item in people.users[0].history}
        assert history <= set(kept[known])


def test_a_version_names_what_judged_and_nothing_else(url, people):
    # A user's scores are always the same ones of a version.
    for user in people.users:
        judged = {}
        for version in (ONE, TWO, ONE, TWO):
            body = ask(url, user.queries[0].input, user.key.user, f"hydra@{version}").json()
            scores = tuple((one["text"], round(one["logit"], 2)) for one in body["hydra"]["candidates"])
            judged.setdefault(version, set()).add(scores)
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
    assert names == ["hydra", "hydra@production", "hydra@one", "hydra@two"]


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
    with Load(url, people) as load:
        set_alias(catalog, PRODUCTION, WRONG, "promote")
        # One is enough for nobody to take it up: who sees that first does not load it at all.
        uses = catalog.aliases.uses
        until(lambda: any((use.version, use.state) == (WRONG, "refused") for use in uses()), "a refusal")
        until(load.seen(served), "answers of that version")
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
