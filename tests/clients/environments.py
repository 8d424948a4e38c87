"""Clients run as programs of their own, each in the environment that `make clients` makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from code_blocks import ROOT

MADE = ROOT / ".cache" / "clients"
SCRIPTS, NODE_SCRIPTS = (Path(__file__).parent / name for name in ("scripts", "node"))
# Far more than any client takes.
_PATIENCE_S = 240


def python(program: str = "python") -> str:
    """A program of the Python clients' environment; the test is skipped where that is not made.

    Args:
        program: Name of the program.
    """
    if not (MADE / "python" / ".installed").exists():
        pytest.skip("Python's clients are not installed: run `make clients`, which needs a package index")
    return str(MADE / "python" / "bin" / program)


def node(folder: Path) -> str:
    """Node, for scripts in a folder, which are given the clients; the test is skipped where either is missing.

    Args:
        folder: Where the scripts are; what they import is looked for there.
    """
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed: install Node 20 and npm, and run `make clients`")
    if not (MADE / "node" / ".installed").exists():
        pytest.skip("Node's clients are not installed: run `make clients`, which needs npm and its registry")
    packages = folder / "node_modules"
    if not packages.exists():
        packages.symlink_to(MADE / "node" / "node_modules")
    return found


def curl() -> str:
    """The program curl; the test is skipped where it is missing."""
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed: install it with the system's package manager (apt-get install curl)")
    return found


def run(words: Sequence[str], url: str, folder: Path | None = None, more: Mapping[str, str] | None = None) -> str:
    """Run a client and return what it printed.

    Args:
        words: Command line.
        url: Where hydra-ray is served; the client finds it in HYDRA_URL.
        folder: Working folder; None is this process's own.
        more: Further variables of its environment.

    Raises:
        AssertionError: It failed; what it said is in the message.
    """
    environment = {**variables(), "HYDRA_URL": url, **(more or {})}
    done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE_S, cwd=folder, env=environment)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def variables() -> dict[str, str]:
    """Environment of a client: nothing of this machine's settings for OpenAI's clients, no proxy, no look-ups."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # LiteLLM would else fetch a list of prices.
    return kept | {"NO_PROXY": "127.0.0.1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def cases_of(script: str, url: str, more: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a Python script of the clients and return what each of its cases came to.

    Args:
        script: Name of the file.
        url: Where hydra-ray is served.
        more: Further variables of its environment.
    """
    return json.loads(run([python(), str(SCRIPTS / script)], url, more=more).splitlines()[-1])


def node_cases_of(script: str, url: str, folder: Path) -> dict[str, Any]:
    """Run a script for Node and return what each of its cases came to.

    Args:
        script: Name of the file.
        url: Where hydra-ray is served.
        folder: An empty folder, to which the scripts are copied.
    """
    for source in NODE_SCRIPTS.glob("*.mjs"):
        shutil.copy(source, folder)
    return json.loads(run([node(folder), script], url, folder).splitlines()[-1])
