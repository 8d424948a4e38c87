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
PYTHON = MADE / "python" / "bin" / "python"
SCRIPTS = Path(__file__).parent / "scripts"
# Far more than any client takes.
_PATIENCE_S = 240


def python() -> str:
    """The Python of the clients' environment; the test is skipped where it is not made."""
    if not (PYTHON.parent.parent / ".installed").exists():
        pytest.skip("Python clients are not installed: run `make clients`, which needs a package index")
    return str(PYTHON)


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
    # Nothing of this machine's settings for OpenAI's clients, and no proxy.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment |= {"HYDRA_URL": url, "NO_PROXY": "127.0.0.1", **(more or {})}
    done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE_S, cwd=folder, env=environment)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cases_of(words: Sequence[str], url: str, folder: Path | None = None) -> dict[str, Any]:
    """Run a client's script and return what each of its cases came to, from its last line."""
    return json.loads(run(words, url, folder).splitlines()[-1])
