"""A Ray cluster of several nodes on one machine, whose nodes are added and killed."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node_places import Network, Place
from patience import PATIENCE_S

from hydra_ray.runtime.start.environment import OF_A_CLUSTER

# Small: all nodes share the memory of one machine.
_SMALL = ("--object-store-memory", "100000000", "--disable-usage-stats")
_GCS = "6379"
_BIN = Path(sys.executable).parent
HEAD = 2
SAID = "said: "
# Begins a script that `Nodes.ask` runs.
CONNECTED = f"""
import json, ray
ray.init(logging_level="error", log_to_driver=False)
def say(told): print("{SAID}" + json.dumps(told), flush=True)
"""


class Nodes:
    """Nodes of one cluster: a head, which runs nothing of others, and workers.

    Args:
        network: The network.
        folder: Folder of what Ray writes.
        env: Environment of every node and command, beside this process's.
    """

    def __init__(self, network: Network, folder: Path, env: dict[str, str]) -> None:
        self.network, self._folder = network, folder
        self._token = uuid.uuid4().hex
        self._env = {
            # Every node and command shows the same token, as pods of a cluster do.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
            **OF_A_CLUSTER,
            # Processes that wait for work that may never come take memory.
            "RAY_enable_worker_prestart": "0",
            "RAY_prestart_worker_first_driver": "0",
            # Ray's workers would stand back behind whatever else a busy machine does.
            "RAY_worker_niceness": "0",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
            "OMP_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
            **env,
        }
        self._places: dict[int, Place] = {}
        self._latest = HEAD

    @property
    def head(self) -> Place:
        """The head's place."""
        return self._places[HEAD]

    @property
    def workers(self) -> list[Place]:
        """Places of the worker nodes, oldest first."""
        return [place for number, place in sorted(self._places.items()) if number != HEAD]

    def start_head(self) -> Place:
        """Starts the head; after its end it is at the same address again."""
        place = self._place(HEAD)
        self._start(place, "--head", "--port", _GCS, "--num-cpus", "0", "--include-dashboard", "false")
        return place

    def add(self, cpus: int, **resources: float) -> Place:
        """Adds a worker node.

        Args:
            cpus: Its logical CPUs.
            resources: Other resources that it says it has.
        """
        self._latest += 1
        place = self._place(self._latest)
        has = ("--num-cpus", str(cpus), "--resources", json.dumps(resources))
        self._start(place, "--address", f"{self.head.address}:{_GCS}", *has)
        return place

    def kill(self, place: Place) -> None:
        """Kills all processes of a node at once."""
        place.end()
        del self._places[place.number]

    def command(self, *command: str, on: Place | None = None, **options: Any) -> subprocess.Popen:
        """Starts a command of the environment, as `hydra-ray` or `serve`, on a node; the head unless told."""
        words = [str(_BIN / command[0]), *command[1:]]
        return (on or self.head).popen(words, {**self._env, "RAY_ADDRESS": f"{self.head.address}:{_GCS}"}, **options)

    def run(self, *command: str, on: Place | None = None) -> str:
        """Runs a command to its end; gives what it wrote to stdout."""
        process = self.command(*command, on=on, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, errors = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
        assert process.returncode == 0, f"{' '.join(command)}:\n{out[-4000:]}\n{errors[-4000:]}"
        return out

    def ask(self, script: str) -> Any:
        """What a Python script gives to `say`, run on the head and connected to the cluster as `ray`."""
        out = self.run("python", "-c", CONNECTED + script)
        # Beside what Ray has to say.
        (said,) = (line.removeprefix(SAID) for line in out.splitlines() if line.startswith(SAID))
        return json.loads(said)

    def alive(self) -> set[str]:
        """Addresses of the nodes that the head believes to be alive."""
        return set(self.ask("say([node['NodeManagerAddress'] for node in ray.nodes() if node['Alive']])"))

    def end(self) -> None:
        """Kills all nodes at once."""
        for place in list(self._places.values()):
            self.kill(place)

    def _place(self, number: int) -> Place:
        place = Place(self.network, number, self._folder / str(number))
        self._places[number] = place
        return place

    def _start(self, place: Place, *arguments: str) -> None:
        command = [str(_BIN / "ray"), "start", *arguments, "--node-ip-address", place.address, *_SMALL]
        log = self._folder / f"start-{place.number}.log"
        with log.open("w") as out:
            done = place.popen(command, self._env, stdout=out, stderr=subprocess.STDOUT).wait(PATIENCE_S)
        assert done == 0, log.read_text()


@contextmanager
def cluster_of(folder: Path, workers: Sequence[int], env: dict[str, str] | None = None) -> Iterator[Nodes]:
    """A cluster for as long as the body runs.

    Args:
        folder: Folder of what Ray writes.
        workers: Logical CPUs of each worker node.
        env: Environment of every node and command, beside this process's.
    """
    network = Network()
    try:
        with nodes_in(network, folder, workers, env) as nodes:
            yield nodes
    finally:
        network.end()


@contextmanager
def nodes_in(
    network: Network, folder: Path, workers: Sequence[int], env: dict[str, str] | None = None
) -> Iterator[Nodes]:
    """A cluster in a network that is there; arguments as `cluster_of`."""
    nodes = Nodes(network, folder, env or {})
    try:
        nodes.start_head()
        for cpus in workers:
            nodes.add(cpus)
        yield nodes
    finally:
        nodes.end()
