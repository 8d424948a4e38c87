"""Commands that learn, on three nodes one of which dies: nothing is missing, there twice or asked twice."""

import contextlib
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from held_llm import HeldLLM
from patience import PATIENCE_S, until
from postgres import new_database
from ray_nodes import nodes_in
from running import running
from torch.testing import assert_close

from hydra_ray.learn.collect.job import example_plan
from hydra_ray.learn.collect.rows import AdapterRow, ExampleRow, RerankerRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.models.base import ADAPTER, Base
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.runtime.generators import cache_file
from hydra_ray.runtime.loading import chosen_source
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store

FIT, ASK = (str(Path(__file__).with_name(name)) for name in ("fit_there.py", "ask_there.py"))
# Of each node; of a fit there are two fitters and an encoder, and processes that ask fill all of them.
CPUS = (2, 1, 1)
PROCESSES, CONCURRENCY = sum(CPUS), 2 * sum(CPUS)
ITEMS = 5
# A node that ends is found to be gone within seconds; one that is only slow has half a minute.
SOON = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}


@pytest.fixture(scope="module")
def cluster(network, tmp_path_factory):
    with nodes_in(network, tmp_path_factory.mktemp("nodes"), CPUS, SOON) as nodes:
        yield nodes, {place.number: cpus for place, cpus in zip(nodes.workers, CPUS, strict=True)}


@pytest.fixture
def nodes(cluster):
    """The cluster, with another worker for each that a test before has killed."""
    nodes, cpus = cluster
    for number in cpus.keys() - {place.number for place in nodes.workers}:
        of_it = cpus.pop(number)
        cpus[nodes.add(of_it).number] = of_it
    return nodes


@pytest.fixture(scope="module")
def users_url(postgres_server):
    """URL of a store of this module's own."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture
def store(users_url):
    store = open_store(users_url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def tree_of(network, users_url, scorer, tag_task, tmp_path_factory):
    """Gives settings of a tenant, whose users are those in the store, and of a version of the base that is there."""

    def make(version, tenant):
        out = tmp_path_factory.mktemp(version)
        Base(version, tag_task, scorer(seed=1), scorer(seed=2)).save(out / "model" / "base")
        return {
            "out": str(out),
            "tenant": tenant,
            "users": "dev",
            "model": {"version": version},
            "data": {"format": "store"},
            "store": {"url": users_url},
            "ray": {"address": "auto"},
        }

    return make


@pytest.fixture
def run(nodes, tmp_path):
    """Starts a script on the head with some settings; ends it whatever happens."""
    started = []

    def start(script, tree, *words):
        settings = tmp_path / f"settings-{len(started)}.yaml"
        settings.write_text(yaml.safe_dump(tree))
        command = ("python", script, *words, str(settings))
        started.append(nodes.command(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def put_users(store, tenant, count, labels, texts):
    """Puts so many users into the store, each with so many of the texts; returns them."""
    users = [UserKey(tenant, f"u{number:05d}") for number in range(count)]

    def history(number):
        numbers = [(number * 7 + place * 3) % len(texts) for place in range(ITEMS)]
        return [
            HistoryItem(f"i{place}", texts[text], labels[(text + number // 40) % len(labels)], f"2026-01-0{place + 1}")
            for place, text in enumerate(numbers)
        ]

    for start in range(0, count, 500):
        store.put_histories({users[number]: history(number) for number in range(start, min(count, start + 500))})
    return users


def working(process, reached):
    """Whether something is reached; a command that ended before is told of."""
    assert process.poll() is None, process.communicate()[0][-4000:]
    return reached()


def stages_on(place):
    """Titles of the processes of Ray Data's stages on a node."""
    return [title for title in place.titles() if title.startswith("ray::MapWorker")]


def said_by(process):
    """What a command printed, once it has ended well."""
    # A fit of many users is more than what else is waited for.
    said, _ = process.communicate(timeout=4 * PATIENCE_S)
    assert process.returncode == 0, said[-4000:]
    return " ".join(said.split())


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_fit(nodes, store, tree_of, run, tag_task, tmp_path, count):
    tenant = f"of-{count}"
    users = put_users(store, tenant, count, tag_task.labels, [f"film number {number}" for number in range(40)])
    outs = []

    def fit(version, shards):
        fit = {"mode": "zero-call", "head": {"kind": "bases"}, "users_per_shard": count // shards}
        tree = {**tree_of(version, tenant), "fit": fit}
        outs.append(Path(tree["out"]))
        return run(FIT, tree, str(tmp_path / version))

    def fitted(version):
        return store.head_fingerprints(version, ADAPTER, users).keys()

    for version in ("one", "three"):
        (tmp_path / version).mkdir()
    (tmp_path / "one" / "go").touch()
    # So few shards go through one process.
    said_by(fit("one", 1))

    process, begun = fit("three", 25), tmp_path / "three"
    until(lambda: working(process, lambda: len(list(begun.iterdir())) == 2), "two fitters with a second shard")
    until(lambda: working(process, lambda: 0 < len(fitted("three")) < count), "heads of the first shards")
    lost = next(place for place in nodes.workers if list(begun.glob(f"node-{place.number}-*")))
    assert any(stages_on(place) for place in nodes.workers if place is not lost)
    assert not stages_on(nodes.head), "it runs nothing of others"
    nodes.kill(lost)
    (begun / "go").touch()
    assert f"{count} users: {count} adapter heads fitted, 0 kept" in said_by(process)

    assert fitted("three") == set(users)
    one, three = (store.heads(users, version, ADAPTER) for version in ("one", "three"))
    assert one.keys() == three.keys() == set(users)
    for name in one[users[0]].head.tensors:
        wanted, found = (torch.stack([heads[user].head.tensors[name] for user in users]) for heads in (one, three))
        assert_close(found, wanted, atol=0.01, rtol=0.01)
    observed = store.observations(users, "three", ADAPTER)
    assert {len(items) for items in observed.values()} == {ITEMS}
    assert not [path for out in outs for path in out.glob("features-*")]


def own_texts(users):
    """So many texts that nobody has to have another's: each request to the LLM is one user's."""
    return [f"film number {number}" for number in range(users * 7 + ITEMS * 3)]


@pytest.fixture
def llm(network, tag_task):
    """Answers the first requests and holds the rest."""
    with running(HeldLLM(network.address, 40, tag_task.labels)) as server:
        yield server
        server.release()


@pytest.fixture
def asking(tree_of, llm):
    """Gives settings of a tenant whose users an LLM is asked about, by processes on all nodes."""

    def make(tenant):
        tree = tree_of("asked", tenant)
        generator = {"backend": "openai", "model": "m", "base_url": llm.url, "timeout_s": PATIENCE_S, "retries": 0}
        return {
            **tree,
            "generator": {**generator, "concurrency": CONCURRENCY},
            "feedback": {"labelers": PROCESSES, "pseudo_queries": 3, "items": 1, "stop_when_alike": False},
        }

    return make


def lost_while_asking(nodes, process, llm, settings):
    """Kills a node while each process has asked as much as it may at once; returns what that node had asked."""
    answers = cache_file(settings)

    def all_ask():
        return llm.holds() == CONCURRENCY

    until(lambda: working(process, all_ask), "requests that are held")
    until(lambda: kept(answers) == llm.times.total() - CONCURRENCY, "answers on disk")
    asking = [place for place in nodes.workers if place.address in llm.held]
    assert len(asking) > 1
    assert not stages_on(nodes.head), "it runs nothing of others"
    # The others have no room for another process: whoever ends first makes some.
    nodes.kill(asking[0])
    return set(llm.held[asking[0].address])


def kept(answers):
    with contextlib.closing(sqlite3.connect(f"file:{answers}?mode=ro", uri=True)) as database:
        return database.execute("select count(*) from answer").fetchone()[0]


def test_collect(nodes, store, asking, llm, run, tag_task):
    put_users(store, "asked", 80, tag_task.labels, own_texts(80))
    tree = asking("asked")
    settings = parse_settings(tree)
    process = run(ASK, tree, "collect")
    in_flight = lost_while_asking(nodes, process, llm, settings)
    llm.release()
    said_by(process)

    plan = Counter(example.key.example_id for example in example_plan(settings, *chosen_source(settings)))
    found = FeedbackStore(settings.feedback_dir)
    assert len(plan) == 80 * 3
    assert Counter(row.example_id for row in found.read(ExampleRow)) == plan
    assert Counter(row.example_id for row in found.read(AdapterRow)) == plan
    assert found.read(RerankerRow) == []
    assert {request: times for request, times in llm.times.items() if times > 1} == dict.fromkeys(in_flight, 2)


def test_profile(nodes, store, asking, llm, run, tag_task):
    users = put_users(store, "described", 120, tag_task.labels, own_texts(120))
    tree = asking("described")
    process = run(ASK, tree, "profile", "--kind", "pag")
    in_flight = lost_while_asking(nodes, process, llm, parse_settings(tree))
    llm.release()
    assert "120 profiles written" in said_by(process)

    assert store.profile_fingerprints("pag").keys() >= set(users)
    assert {store.profile(user, "pag").text for user in users} <= set(tag_task.labels)
    assert {request: times for request, times in llm.times.items() if times > 1} == dict.fromkeys(in_flight, 2)
