"""The table of what became of requests, by side, and the same as numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from open_loop import Sample, quantile
from rich.console import Console
from rich.table import Table


def shown(console: Console, title: str, samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """Prints a row for each side; returns its numbers, times in milliseconds.

    Args:
        console: Where.
        title: Title of the table.
        samples: What became of the requests; those that failed have no time.
    """
    by_kind: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_kind[sample.kind].append(sample)
    table = Table("side", "requests", "p50 ms", "p99 ms", "failed", title=title)
    found = {}
    for kind, of_kind in by_kind.items():
        good = [sample.seconds for sample in of_kind if not sample.error] or [float("nan")]
        errors = sorted({sample.error for sample in of_kind if sample.error})
        found[kind] = {
            "requests": len(of_kind),
            "p50_ms": 1e3 * quantile(good, 0.5),
            "p99_ms": 1e3 * quantile(good, 0.99),
            "latest_sent_ms": 1e3 * max(sample.late_s for sample in of_kind),
            "errors": errors,
        }
        table.add_row(
            kind,
            str(len(of_kind)),
            f"{found[kind]['p50_ms']:.1f}",
            f"{found[kind]['p99_ms']:.1f}",
            f"{sum(bool(sample.error) for sample in of_kind)} {errors[:1] or ''}",
        )
    console.print(table)
    return found


def added_over(found: dict[str, dict[str, Any]], over: str) -> dict[str, dict[str, float]]:
    """Return what each side takes over one of them, by quantile.

    Args:
        found: Numbers of the sides, from `shown`.
        over: Side that the others are compared with.
    """
    quantiles = ("p50_ms", "p99_ms")
    return {
        side: {quantile: numbers[quantile] - found[over][quantile] for quantile in quantiles}
        for side, numbers in found.items()
        if side != over
    }
