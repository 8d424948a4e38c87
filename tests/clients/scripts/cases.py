"""What the scripts share: each case of a client gives a value, and all of them are printed as one line of JSON."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

URL = os.environ["HYDRA_URL"]


def said(text: str) -> list[dict[str, Any]]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def tell(*cases: Callable[[], Any]) -> None:
    """Run the cases and print what came of each, by name; a case that fails does not keep others from running."""
    found: dict[str, Any] = {}
    for case in cases:
        try:
            value = asyncio.run(case()) if inspect.iscoroutinefunction(case) else case()
        except Exception:
            value = {"failed": traceback.format_exc()}
        found[case.__name__] = value
    print(json.dumps(found))
