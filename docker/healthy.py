"""Whether the container does what it was started for: a server answers `/readyz`, any other command is still there.

The image's HEALTHCHECK; Kubernetes has probes of its own. Runs on the standard library alone, every few seconds.
"""

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path


def served_port(commands: Sequence[Sequence[str]]) -> int | None:
    """Return the port of the `hydra-ray serve` among these commands, None where there is none.

    Args:
        commands: Arguments of each process, the program first.
    """
    for words in commands:
        programs = [Path(word).name for word in words[:2]]
        if "hydra-ray" not in programs or "serve" not in words:
            continue
        for word, after in zip(words, [*words[1:], ""], strict=True):
            name, _, value = word.partition("=")
            if name == "--port":
                return int(value or after)
        return 8000
    return None


def processes() -> list[list[str]]:
    """Arguments of every process of the container."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace").split("\0"))
        except OSError:
            # It has ended meanwhile.
            continue
    return found


def answers(port: int) -> bool:
    """Whether the server says that requests can be answered."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=4):
            return True
    except (urllib.error.URLError, TimeoutError):
        return False


if __name__ == "__main__":
    port = served_port(processes())
    sys.exit(0 if port is None or answers(port) else 1)
