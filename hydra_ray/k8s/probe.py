"""Asks a URL of this pod, for a probe of Kubernetes: what it prints is in the pod's events.

Of the standard library alone: it runs every few seconds.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

_PATIENCE_S = 4.0


def main(arguments: list[str]) -> int:
    """Return 0 where the URL answers 200; else print why not, e.g. which steps are not ready, and return 1."""
    (url,) = arguments
    try:
        with urlopen(url, timeout=_PATIENCE_S):
            return 0
    except HTTPError as error:
        print(f"not ready: {_steps(error.read()) or f'{url} answers {error.code}'}")
    except OSError as error:
        print(f"not ready: {url} does not answer ({error})")
    return 1


def _steps(body: bytes) -> str:
    """The steps that `/readyz` says fail, as one word after the other."""
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return ""
    steps = answer.get("steps") if isinstance(answer, dict) else None
    failing = [name for name, found in steps.items() if found == "fails"] if isinstance(steps, dict) else []
    return f"{', '.join(failing)} fail" if failing else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
