"""LiteLLM's proxy in front of hydra-ray, as docs/clients.md sets it up."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from running import free_port

from clients.environments import python, variables

# Far more than its start takes: ten seconds of a core.
_PATIENCE_S = 300


@dataclass(frozen=True)
class Proxy:
    """Where the proxy listens, as OpenAI's clients take it, and the key that it wants of them."""

    url: str
    key: str


@contextlib.contextmanager
def running_proxy(config: str, folder: Path) -> Iterator[Proxy]:
    """A proxy for as long as the body runs.

    Args:
        config: Text of its configuration file.
        folder: Folder into which that file and the log are written.

    Raises:
        AssertionError: It did not start; its log is in the message.
    """
    port, key = free_port(), f"sk-{secrets.token_hex(32)}"
    (folder / "litellm.yaml").write_text(config)
    words = [python("litellm"), "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            words, cwd=folder, env={**variables(), "LITELLM_MASTER_KEY": key}, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        assert _answers(f"{url}/health/liveliness", process), (folder / "log").read_text()
        yield Proxy(f"{url}/v1", key)
    finally:
        process.terminate()
        process.wait(timeout=_PATIENCE_S)


def _answers(url: str, process: subprocess.Popen) -> bool:
    """Waits until a URL answers; false where the process ends before, or patience does."""
    for _ in range(2 * _PATIENCE_S):
        if process.poll() is not None:
            return False
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=30).is_success:
                return True
        time.sleep(0.5)
    return False
