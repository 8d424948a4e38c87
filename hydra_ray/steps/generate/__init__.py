"""Generators, one file a backend. A new backend is one file and one line in `hydra_ray/runtime/generators.py`."""

from hydra_ray.steps.generate.base import (
    FINAL_KINDS,
    BudgetSpentError,
    FilteredError,
    GenerateError,
    Generator,
    stream_of,
)

__all__ = ["FINAL_KINDS", "BudgetSpentError", "FilteredError", "GenerateError", "Generator", "stream_of"]
