"""Places for nodes on one machine, each with an address, processes and a network card of its own.

A place is a set of Linux namespaces. It ends with its first process, and all of its processes with it, as those of a
machine do that loses its power. All first processes end with this one, whatever fails: nothing stays behind.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

# Of whoever started it: it ends with them, and what is in it ends with it.
_HOLDS = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--net", "--uts", "--pid", "--mount", "--fork", "--kill-child=KILL"),
)
# Ray's own folder, which nodes of one machine would share.
_RAYS = Path("/tmp/ray")
_PATIENCE_S = 60.0


def why_not() -> str | None:
    """Why this machine gives no places; None where it does."""
    if os.geteuid() != 0:
        return "network namespaces want root"
    for command in ((*_HOLDS, "true"), ("ip", "-V"), ("nsenter", "-V")):
        try:
            done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S)
        except OSError as error:
            return f"network namespaces: {error}"
        if done.returncode:
            return f"network namespaces: {' '.join(command)}: {done.stderr.decode().strip()}"
    # The rest, cards and a switch, is there or not in a container: by trying it is known.
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        try:
            network = Network()
            ends.callback(network.end)
            ends.callback(Place(network, 250, Path(folder) / "node").end)
        except (RuntimeError, OSError) as error:
            return f"network namespaces: {error}"
    return None


class _Held:
    """Namespaces, and the process that holds them."""

    def __init__(self, setup: str = "true") -> None:
        script = f"mount -t proc proc /proc && {setup} && echo there && exec sleep infinity"
        self._holder = subprocess.Popen(
            [*_HOLDS, "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if self._holder.stdout.readline() != "there\n":
            raise RuntimeError(f"no place for a node: {self._holder.communicate()[1]}")
        (first,) = psutil.Process(self._holder.pid).children()
        self.pid = first.pid

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a command there."""
        enter = ("nsenter", "--target", str(self.pid), "--net", "--uts", "--pid", "--mount", f"--wdns={os.getcwd()}")
        # Whoever ends `nsenter` means the command.
        return [*enter, "setpriv", "--pdeathsig", "KILL", *command]

    def processes(self) -> list[psutil.Process]:
        """All that runs there."""
        return psutil.Process(self.pid).children(recursive=True)

    def end(self) -> None:
        """Ends all that runs there, at once."""
        if psutil.pid_exists(self.pid):
            os.kill(self.pid, 9)
        self._holder.wait()
        self._holder.stdout.close()
        self._holder.stderr.close()


class Place:
    """Where one node is.

    Args:
        network: The network that it is in.
        number: Number of the node, from 2 to 250: its address ends with it.
        folder: Folder of what Ray writes there.
    """

    def __init__(self, network: Network, number: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _RAYS.mkdir(exist_ok=True)
        self.number, self.address = number, network.address_of(number)
        # What torch's processes tell each other to connect to is what the machine's name means.
        hosts, name = folder.with_name(f"hosts-{number}"), f"node-{number}"
        hosts.write_text(f"127.0.0.1 localhost\n{self.address} {name}\n")
        mounts = f"mount --bind {folder} {_RAYS} && mount --bind {hosts} /etc/hosts"
        self._held = _Held(f"{mounts} && hostname {name}")
        network.connect(self._held, number)

    def popen(self, command: Sequence[str], env: Mapping[str, str], **options: Any) -> subprocess.Popen:
        """Starts a command there."""
        return subprocess.Popen(self._held.inside(*command), env={**os.environ, **env}, **options)

    def titles(self) -> list[str]:
        """Titles of Ray's processes there, as `ray::ServeReplica:hydra:Ingress`."""
        return [title for process in self._held.processes() if (title := _title(process)).startswith("ray::")]

    def end(self) -> None:
        """Kills all of its processes at once."""
        self._held.end()


class Network:
    """A switch that places are connected to, and this process too, at the address that ends with 1."""

    def __init__(self) -> None:
        # Others may test on this machine as well.
        self._name = f"hy{os.getpid()}"
        self._net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self.address = self.address_of(1)
        self._switch = _Held()
        try:
            self._connect_this_process()
        except BaseException:
            self.end()
            raise

    def _connect_this_process(self) -> None:
        _ip("link", "add", self._name, "type", "veth", "peer", "name", "uplink", "netns", str(self._switch.pid))
        self._in_switch("link", "add", "switch", "type", "bridge")
        self._in_switch("link", "set", "switch", "up")
        self._in_switch("link", "set", "uplink", "master", "switch", "up")
        _ip("addr", "add", f"{self.address}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")

    def address_of(self, number: int) -> str:
        """The address of a number."""
        return f"{self._net}.{number}"

    def connect(self, held: _Held, number: int) -> None:
        """Gives a place its address; who comes back to an address has the same card as before."""
        card = ("address", f"02:00:00:00:00:{number:02x}")
        outside = f"n{number}"
        # Of a node that was there before, which the kernel takes its time to remove.
        deadline = time.monotonic() + _PATIENCE_S
        while self._in_switch("link", "show", outside, check=False) == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        self._in_switch("link", "add", outside, "type", "veth", "peer", "name", "eth0", *card, "netns", str(held.pid))
        self._in_switch("link", "set", outside, "master", "switch", "up")
        there = held.inside
        _run(there("ip", "addr", "add", f"{self.address_of(number)}/24", "dev", "eth0"))
        _run(there("ip", "link", "set", "eth0", "up"))
        _run(there("ip", "link", "set", "lo", "up"))
        # What looks for its own address by a way to elsewhere finds this one.
        _run(there("ip", "route", "add", "default", "via", self.address))

    def end(self) -> None:
        """Removes the switch, and with it every connection."""
        # At once: the kernel takes its time for that of a namespace which ended, and the next network has this name.
        _run(["ip", "link", "del", self._name], check=False)
        self._switch.end()

    def _in_switch(self, *arguments: str, check: bool = True) -> int:
        return _run(["nsenter", "--target", str(self._switch.pid), "--net", "ip", *arguments], check=check)


def _title(process: psutil.Process) -> str:
    try:
        # While they work, Ray adds what they do.
        return " ".join(process.cmdline()).split(".")[0].split(" ")[0]
    except psutil.NoSuchProcess:
        return ""


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _run(command: Sequence[str], check: bool = True) -> int:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.returncode
