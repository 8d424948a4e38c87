"""How long until an application on several nodes is as it was: after a worker node died under load, and after the head.

Two worker nodes with a replica of each step on both, and a head that runs none and keeps what it knows in Redis, in
network namespaces of this machine (it wants root), with an LLM of fixed speed. A replica of the ingress takes so few
requests at once that one of them cannot answer all that come, and both can: what is short of capacity is seen. Nodes
are started as tests do it.

    PYTHONPATH=tests:tests/cluster python benchmarks/recovery.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import fixed_llm
import httpx
import torch
from load import Load
from measuring import Goal, finish, machine, options
from node_places import Network, Place, why_not
from patience import until
from ray_nodes import CONNECTED, SAID, Nodes, nodes_in
from redis_server import redis_in
from rich.console import Console
from rich.table import Table
from served_app import App
from served_base import TAGS, film_task, make_settings, prepare
from served_cluster import STEPS, ServedCluster

LLM_S, TOGETHER, REPLICAS, CPUS = 3.0, 6, 2, 8
# What both replicas of the ingress answer, of which this share comes: more than one of them answers.
PER_S = 0.75 * REPLICAS * TOGETHER / LLM_S
QUIET_S, AWAY_S = 20.0, 20.0
# Whatever takes so many times what was usual before is not as before.
SLOW = 1.5
# Serve's view of the application, told whenever it changes.
_WATCH = """
import time
from ray import serve
from ray.exceptions import RayError
before = None
while True:
    try:
        of = serve.status().applications["hydra"].deployments
        whole = all(of[step].replica_states == {"RUNNING": REPLICAS} for step in STEPS)
    except (RayError, serve.exceptions.RayServeException, KeyError):
        whole = False
    if whole != before:
        say([time.time(), whole])
        before = whole
    time.sleep(0.2)
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one request.

    Attributes:
        at_s: When it was asked, as `time.time` has it.
        seconds: Time until its reply.
        status: HTTP status; 0 where the connection broke.
        degraded: What it was answered without.
    """

    at_s: float
    seconds: float
    status: int
    degraded: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it was answered, and nothing was degraded."""
        return self.status == 200 and not self.degraded


@dataclass(slots=True)
class Users:
    """Users who ask a new question again and again, through the proxy of a node.

    Args:
        app: The application through that proxy.
    """

    app: App
    asked: list[Asked] = field(default_factory=list)

    def ask(self, client: httpx.Client, number: int) -> httpx.Response:
        """Asks the question of a number, and remembers what became of it."""
        begin, status, degraded = time.time(), 0, []
        try:
            reply = self.app.chat(client, number)
            status = reply.status_code
            degraded = reply.json()["hydra"]["degraded"] if status == 200 else []
        finally:
            self.asked.append(Asked(begin, time.time() - begin, status, tuple(degraded)))
        return reply


class Watch:
    """Tells when Serve has all replicas, and when it has not, as it looks from the head; it ends with the head.

    Args:
        nodes: The cluster.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._said: list[tuple[float, bool]] = []
        script = CONNECTED + _WATCH.replace("REPLICAS", str(REPLICAS)).replace("STEPS", repr(STEPS))
        self._process = nodes.command(
            "python", "-c", script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        threading.Thread(target=self._listen, daemon=True).start()
        until(lambda: bool(self._said), "Serve's status")

    def _listen(self) -> None:
        for line in self._process.stdout:
            _, found, told = line.partition(SAID)
            if found:
                self._said.append(tuple(json.loads(told)))

    def at(self, whole: bool, after: float) -> float:
        """Waits until it was whole, or was not, after a moment; gives when."""

        def found() -> list[float]:
            return [at for at, state in list(self._said) if state == whole and at >= after]

        until(lambda: bool(found()), f"replicas: all there is {whole}")
        return found()[0]

    def end(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


def main(arguments: list[str]) -> None:
    """Measures, shows and writes down."""
    parser = options(__doc__, "recovery")
    parser.add_argument("--rounds", type=int, default=3, help="times that each of them dies")
    chosen = parser.parse_args(arguments)
    if reason := why_not():
        parser.error(reason)
    console, rounds, quiet_s = Console(), 1 if chosen.small else chosen.rounds, 5.0 if chosen.small else QUIET_S
    before = machine(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder, served_in(Path(folder)) as served:
        found = {
            "worker node": [a_node_dies(served, quiet_s) for _ in range(rounds)],
            "head": [the_head_dies(served, quiet_s, AWAY_S) for _ in range(rounds)],
        }
    for who, measured in found.items():
        table = Table("what", *(f"round {number + 1}" for number in range(rounds)), title=f"A {who} dies")
        for name in measured[0]:
            table.add_row(name, *(_shown(one[name]) for one in measured))
        console.print(table)
    goals = [
        Goal("answers degraded, worst round", max(one["degraded"] for own in found.values() for one in own), 0),
        Goal("requests failed as the head died, worst round", max(one["failed"] for one in found["head"]), 0),
    ]
    finish(
        console, chosen.json, "recovery", {"machine": before, "per_s": PER_S, "llm_s": LLM_S, "rounds": found}, goals
    )


@contextmanager
def served_in(folder: Path) -> Iterator[ServedCluster]:
    """The application on two nodes, whole."""
    os.environ.setdefault("OPENAI_API_KEY", "none")
    network = Network()
    try:
        llm = fixed_llm.FixedLLM(LLM_S, TAGS)
        with fixed_llm.running(llm, network.address) as llm_url, redis_in(folder / "redis", network.address) as redis:
            settings = make_settings(folder, llm_url)
            prepare(settings, film_task(), users=8, items=10, big=0, heads=8)
            env = {"RAY_REDIS_ADDRESS": redis.address, "RAY_external_storage_namespace": "recovery"}
            with nodes_in(network, folder / "nodes", [CPUS] * REPLICAS, env) as nodes:
                tree = {
                    **settings.model_dump(mode="json", exclude_unset=True),
                    "ray": {"address": "auto"},
                    # Waiting for the machine's two cores is none of a step's faults.
                    "serve": {"step_timeout_s": 15},
                }
                served = ServedCluster(nodes, folder, tree, {"Ingress": {"max_ongoing_requests": TOGETHER}})
                served.deploy(REPLICAS)
                yield served
    finally:
        network.end()


def a_node_dies(served: ServedCluster, quiet_s: float) -> dict[str, float | str]:
    """Kills a worker node under load and adds another one at once; returns how it went."""
    nodes = served.nodes
    with asking(served, nodes.head, quiet_s) as users:
        watch = Watch(nodes)
        dies = time.time()
        nodes.kill(nodes.workers[0])
        nodes.add(CPUS)
        joined = time.time()
        noticed = watch.at(False, dies)
        back = watch.at(True, noticed)
        watch.end()
        wait_until_quick(users, dies, quiet_s)
    return {
        "Serve notices, s": noticed - dies,
        "the new node is there, s": joined - dies,
        "all replicas are back, s": back - dies,
        **_requests(users.asked, dies),
    }


def the_head_dies(served: ServedCluster, quiet_s: float, away_s: float) -> dict[str, float | str]:
    """Kills the head under load and starts it again later; returns how it went."""
    nodes = served.nodes
    with asking(served, nodes.workers[0], quiet_s) as users:
        dies = time.time()
        nodes.kill(nodes.head)
        time.sleep(away_s)
        starts = time.time()
        nodes.start_head()
        started = time.time()
        watch = Watch(nodes)
        back = watch.at(True, starts)
        watch.end()
        wait_until_quick(users, dies, quiet_s)
    served.wait_until_whole(nodes.head)
    meanwhile = [one for one in users.asked if dies <= one.at_s < starts]
    return {
        "away, s": starts - dies,
        "asked meanwhile": len(meanwhile),
        "of these answered whole": sum(one.whole for one in meanwhile),
        "started again, s from its start": started - starts,
        "Serve has all replicas, s from its start": back - starts,
        **_requests(users.asked, dies),
    }


@contextmanager
def asking(served: ServedCluster, through: Place, quiet_s: float) -> Iterator[Users]:
    """Load through the proxy of a node, before and while the body runs; it begins when all is well."""
    users = Users(served.wait_until_whole(through))
    with Load(users.ask, PER_S).running():
        # Caches are cold at first.
        time.sleep(quiet_s)
        yield users


def wait_until_quick(users: Users, dies: float, quiet_s: float) -> None:
    """Waits until all requests of some time are answered whole and as quickly as before."""
    slow_s = SLOW * _usual_s(users.asked, dies)

    def quick() -> bool:
        latest = [one for one in list(users.asked) if one.at_s + one.seconds > time.time() - quiet_s]
        return bool(latest) and all(one.whole and one.seconds <= slow_s for one in latest)

    enough = time.time() + quiet_s
    until(lambda: time.time() > enough and quick(), f"answers within {slow_s:.1f} s")


def _usual_s(asked: list[Asked], dies: float) -> float:
    """What an answer took before."""
    return median(one.seconds for one in list(asked) if one.at_s + one.seconds < dies)


def _requests(asked: list[Asked], dies: float) -> dict[str, float | str]:
    """What requests saw, with times from the death on."""
    usual_s = _usual_s(asked, dies)
    after = [one for one in asked if one.at_s + one.seconds >= dies]
    lame = [one.at_s + one.seconds - dies for one in after if not one.whole or one.seconds > SLOW * usual_s]
    statuses, without = Counter(one.status for one in after), Counter(name for one in after for name in one.degraded)
    return {
        "answers whole and as quick as before again, s": max(lame, default=0.0),
        "median before, s": usual_s,
        "longest after, s": max(one.seconds for one in after),
        "asked": len(after),
        "refused (429)": statuses[429],
        "failed": len(after) - statuses[200] - statuses[429],
        "degraded": sum(one.status == 200 and not one.whole for one in after),
        "without": ", ".join(f"{name} {times}" for name, times in sorted(without.items())),
    }


def _shown(value: float | str) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(sys.argv[1:])
