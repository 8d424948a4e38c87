"""What `results.json` holds, as the outcome that it was written from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from hydra_ray.evaluate.reporting.files import SCHEMA
from hydra_ray.evaluate.results import ComparisonResult

_RESULT: TypeAdapter[ComparisonResult] = TypeAdapter(ComparisonResult)


def read_result(path: Path) -> ComparisonResult:
    values = json.loads(path.read_text(encoding="utf-8"), object_hook=_with_ends)
    assert values.pop("schema") == SCHEMA
    return _RESULT.validate_python(values)


def _with_ends(values: dict[str, Any]) -> dict[str, Any]:
    # Only an interval has these keys; an end that is not there is infinitely far away.
    if set(values) == {"value", "low", "high", "n"}:
        ends = {"low": -math.inf, "high": math.inf}
        values |= {name: end for name, end in ends.items() if values[name] is None}
    return values
