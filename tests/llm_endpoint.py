"""The LLM endpoint of `llm_process.py`, as tests start, change and kill it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
from patience import until
from running import free_port


class LLM:
    """The endpoint's process.

    Args:
        folder: Folder for the file that says how it behaves.
        host: Address to listen on.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self._mode, self._host, self._port = folder / "mode", host, free_port()
        self.url = f"http://{host}:{self._port}/v1"
        self.start()

    def start(self) -> None:
        """Starts it, well-behaved."""
        self.behave("good")
        script = str(Path(__file__).with_name("llm_process.py"))
        self.process = subprocess.Popen([sys.executable, script, self._host, str(self._port), str(self._mode)])
        until(self._listens, "the LLM's endpoint")

    def behave(self, mode: str) -> None:
        """From the next request on."""
        fresh = self._mode.with_suffix(".new")
        fresh.write_text(mode)
        fresh.replace(self._mode)

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()

    def _listens(self) -> bool:
        try:
            httpx.post(f"{self.url}/chat/completions", json={"model": "m", "messages": []}).raise_for_status()
        except httpx.HTTPError:
            return False
        return True
