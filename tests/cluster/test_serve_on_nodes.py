"""The application on several nodes, one of which dies under load."""

import contextlib

import pytest
import s3
from load import Load
from patience import until
from ray_nodes import nodes_in
from redis_server import redis_in
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
        "out": str(tmp_path_factory.mktemp("out")),
        # Each node has a folder of its own there.
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
        until(served.is_whole, "all replicas")
        answered(load, 8)
    assert failed(load) <= hit, [reply for reply in load.replies if reply.request in failed(load) - hit]
    assert {reply.status for reply in load.replies} <= {200, 503}
