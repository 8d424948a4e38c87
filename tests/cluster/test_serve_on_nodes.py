"""The application on nodes that share a PostgreSQL and an S3: what one learns is on all, and what dies under load."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import s3
from load import Load
from patience import until
from ray_nodes import nodes_in
from redis_server import redis_in
from served_app import USERS, WORDS
from served_cluster import STEPS, ServedCluster

from hydra_ray.models.base import Base
from hydra_ray.runtime.models import open_catalog, publish
from hydra_ray.settings import parse_settings
from hydra_ray.tasks import TEXT_TASK

# Replicas say how much they want of these; nothing is this fast.
CPUS = 8


@pytest.fixture(scope="module")
def redis(network, tmp_path_factory):
    with redis_in(tmp_path_factory.mktemp("redis"), network.address) as server:
        yield server


@pytest.fixture(scope="module")
def models(network):
    """A bucket for the registry of models."""
    with s3.serving(network.address) as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{server}")
        s3.client_with(server, "models", environment)
        yield "s3://models/hydra"


@pytest.fixture(scope="module")
def cluster(network, redis, models, tmp_path_factory):
    """A head that keeps what it knows in Redis, and two workers."""
    env = {"RAY_REDIS_ADDRESS": redis.address, "RAY_external_storage_namespace": "tests"}
    with nodes_in(network, tmp_path_factory.mktemp("nodes"), [CPUS, CPUS], env) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def tree(models, llm, database, tmp_path_factory):
    """Settings: what nodes share is a PostgreSQL and an S3."""
    return {
        # Each node has folders of its own there.
        "out": "/tmp/ray/out",
        "registry": {"url": models, "cache": "/tmp/ray/models"},
        "store": {"url": database},
        "generator": {"backend": "openai", "base_url": llm.url, "model": "m", "timeout_s": 5, "retries": 1},
        "fit": {"head": {"kind": "bases"}, "mode": "zero-call"},
        "ray": {"address": "auto"},
        # A busy machine may need seconds for a step that is as well as can be.
        "serve": {"step_timeout_s": 15, "generator_timeout_s": 40},
    }


@pytest.fixture(scope="module")
def published(tree, scorer, tmp_path_factory):
    """Publishes a version of the base that is good for nothing but being there."""
    here = {**tree, "registry": {**tree["registry"], "cache": str(tmp_path_factory.mktemp("models"))}}
    settings = parse_settings(here)

    def publish_seeded(version, seed):
        with contextlib.closing(open_catalog(settings)) as catalog:
            publish(catalog, Base(version, TEXT_TASK, scorer(seed=seed), scorer(seed=seed + 1)), settings, [], {})
            catalog.serve_first(version, "train")

    return publish_seeded


@pytest.fixture(scope="module")
def served(cluster, tree, published, tmp_path_factory):
    """The application, two replicas of each step."""
    published("v1", 1)
    served = ServedCluster(cluster, tmp_path_factory.mktemp("served"), tree)
    served.deploy()
    served.wait_until_whole(cluster.head)
    return served


@pytest.fixture
def load_through(served, llm):
    """Load through the proxy of a node, about to begin; some requests are always under way."""

    def make(place, per_s=2):
        app = served.wait_until_whole(place)
        llm.behave("slow")
        return Load(app.chat, per_s=per_s)

    yield make
    llm.behave("good")


def answered(load, more):
    """Waits for so many more answers."""
    wanted = load.statuses[200] + more
    until(lambda: load.statuses[200] >= wanted, "answers")


def in_hand(load):
    """Numbers of the requests that are under way."""
    return set(range(load.begun)) - {reply.request for reply in list(load.replies)}


def failed(load):
    return {reply.request for reply in load.replies if reply.status != 200}


def degraded(load):
    """What any answer was made without."""
    return {name for reply in load.replies for name in reply.degraded}


def latest(load, name):
    """What the last answers say of one thing."""
    return [reply.body.get("hydra", {}).get(name) for reply in load.replies[-4:]]


@pytest.fixture
def apps(served):
    """The application through the proxies of two nodes, each of which asks the ingress of its own."""
    return [served.wait_until_whole(place) for place in served.nodes.workers]


def told_of(app, user, together=8):
    """What is said of answers to a user, who asks several times at once, so that all replicas are asked."""

    def ask(number):
        with httpx.Client(timeout=60) as client:
            return app.chat(client, number, user=user).raise_for_status().json()["hydra"]

    with ThreadPoolExecutor(together) as threads:
        return list(threads.map(ask, range(together)))


def give_history(app, user):
    for word in WORDS:
        item = {"id": f"h-{word}", "input": f"Describe a {word}", "output": f"A {word}, calm ({user})"}
        path = f"{app.url}/v1/users/{user}/history"
        httpx.post(path, json=item, headers=app.headers, timeout=60).raise_for_status()


def test_a_head_that_is_fitted_on_one_node_is_served_on_all_at_the_next_request(served, apps, tmp_path):
    assert {one["head"] for app in apps for one in told_of(app, USERS[0])} == {"shared"}
    users = tmp_path / "users"
    users.write_text("\n".join(USERS))
    fit = ("hydra-ray", "fit", str(served.settings), "data.format=store", f"users={users}")
    said = served.nodes.run(*fit, on=served.nodes.workers[0])
    assert f"{len(USERS)} adapter heads fitted" in " ".join(said.split())
    assert {one["head"] for app in reversed(apps) for one in told_of(app, USERS[0])} == {"user"}


def test_a_user_who_is_deleted_on_one_node_is_unknown_on_all_at_the_next_request(apps):
    here, there = apps
    give_history(here, "user-leaving")
    assert all(one["history"] for app in (there, here) for one in told_of(app, "user-leaving"))
    httpx.delete(f"{here.url}/v1/users/user-leaving", headers=here.headers, timeout=60).raise_for_status()
    assert [one["history"] for app in (there, here) for one in told_of(app, "user-leaving")] == [[]] * 16
    assert there.history("user-leaving") == []


def test_a_node_that_dies_costs_the_requests_that_it_had_in_hand_and_its_replicas_come_back(served, load_through):
    load = load_through(served.nodes.head, per_s=4)
    lost, kept = served.nodes.workers
    assert served.steps_on(lost) == served.steps_on(kept) == set(STEPS), "replicas are on different nodes"
    with load.running():
        answered(load, 8)
        before = in_hand(load)
        served.nodes.kill(lost)
        hit = before | in_hand(load)
        served.nodes.add(CPUS)
        until(lambda: not served.is_whole(), "Serve to miss replicas")
        until(served.is_whole, "all replicas")
        answered(load, 8)
    assert failed(load) <= hit, [reply for reply in load.replies if reply.request in failed(load) - hit]
    assert {reply.status for reply in load.replies} <= {200, 503}
    assert degraded(load) == set()


def test_a_version_that_is_promoted_under_load_fails_no_request(served, published, load_through):
    published("v2", 3)
    load = load_through(served.nodes.workers[0])
    with load.running():
        answered(load, 4)
        served.nodes.run("hydra-ray", "model", "promote", str(served.settings), "v2", on=served.nodes.workers[1])
        until(lambda: latest(load, "version") == ["v2"] * 4, "answers by v2")
    assert failed(load) == degraded(load) == set()


@pytest.mark.nightly
def test_a_new_config_under_load_fails_no_request(served, load_through):
    load = load_through(served.nodes.workers[0])
    with load.running():
        answered(load, 4)
        served.deploy(serve={"method": "rag"})
        until(lambda: latest(load, "method") == ["rag"] * 4, "answers by the new config")
        until(served.is_whole, "all replicas")
        answered(load, 4)
    assert failed(load) == degraded(load) == set()
    assert latest(load, "method") == ["rag"] * 4


@pytest.mark.nightly
def test_requests_go_on_without_the_head_which_takes_a_new_config_when_it_is_back(served, load_through):
    nodes = served.nodes
    load = load_through(nodes.workers[0])
    with load.running():
        answered(load, 4)
        nodes.kill(nodes.head)
        answered(load, 20)
        nodes.start_head()
        until(served.is_whole, "all replicas, as the new head knows them")
        served.deploy(serve={"method": "zero-shot"})
        until(lambda: latest(load, "method") == ["zero-shot"] * 4, "answers by the new config")
    served.wait_until_whole(nodes.head)
    assert failed(load) == degraded(load) == set()
