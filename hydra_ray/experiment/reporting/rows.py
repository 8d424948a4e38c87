"""Numbers of an online experiment as people read them: a row for each measure and arm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from hydra_ray.experiment.compare import Comparison
from hydra_ray.experiment.measures import MEASURES, Measure
from hydra_ray.experiment.online import OnlineReport, Slice

LEVEL_NEEDED = 0.05
HEADINGS = ("measure", "arm", "users", "answers", "value", "difference", "at all looks", "p")


@dataclass(frozen=True, slots=True)
class Row:
    """One arm in one measure.

    Attributes:
        cells: Texts under `HEADINGS`.
        tone: "better", "worse" or "differs" where the difference is beyond chance, else "".
    """

    cells: tuple[str, ...]
    tone: str


def rows(part: Slice) -> Iterator[Row]:
    """Yield a row for each measure and arm of a slice, measures in their order, the arm compared with first."""
    compared = {(one.measure, one.arm): one for one in part.comparisons}
    for measure in MEASURES:
        for arm in part.arms:
            figure = next((one for one in arm.figures if one.measure == measure.name), None)
            if figure is None:
                continue
            value = between(measure, figure.value.value, figure.value.low, figure.value.high)
            begin = (measure.name, arm.arm, f"{figure.users:,}", f"{figure.value.n:,}", value)
            comparison = compared.get((measure.name, arm.arm))
            yield Row((*begin, *_difference(measure, comparison)), tone(measure, comparison))


def title(report: OnlineReport, part: Slice) -> str:
    """Return what a slice is of, and when it was served."""
    whose = f"tenant {part.tenant}" if part.tenant else "all tenants"
    whose += f", {part.cohort}" if part.cohort else ""
    return f"{report.experiment}: {whose}, {part.users:,} users, {part.completions:,} answers"


def explained(report: OnlineReport) -> list[str]:
    """Return what a reader has to know of the numbers."""
    begin, end = (
        datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes") for at in (report.since_s, report.until_s)
    )
    lines = [
        f"From {begin} until {end}. Differences are from arm {report.against}; in brackets 95 % intervals over users, "
        "which hold at one look.",
        "The intervals under `at all looks` and p hold however often somebody looks; p is corrected for the number of "
        "arms (Holm), not for the number of measures.",
    ]
    if any(report.left_out.values()):
        kept = {one.arm: one.completions for one in report.slices[0].arms}
        # An arm of which nothing is left has no other line.
        counts = [(arm, left, left + kept.get(arm, 0)) for arm, left in report.left_out.items()]
        shares = ", ".join(f"{100 * left / of:.1f} % of {arm} ({left:,})" for arm, left, of in counts)
        lines.append(
            f"Left out in every arm alike, since only the LLM can answer requests of their form: {shares}. Where these "
            "shares differ beyond chance, an arm changed what is asked, and what is compared is no longer alike."
        )
    return lines


def tone(measure: Measure, comparison: Comparison | None) -> str:
    """Return whether a difference beyond chance is good."""
    if comparison is None or comparison.p_holm >= LEVEL_NEEDED:
        return ""
    if measure.higher_is_better is None:
        return "differs"
    return "better" if (comparison.difference.value > 0) == measure.higher_is_better else "worse"


def between(measure: Measure, value: float, low: float, high: float, signed: bool = False) -> str:
    """Return a number with the ends of its interval, shares as per cent."""
    texts = [_number(measure, one, signed) for one in (value, low, high)]
    return texts[0] if math.isinf(low) and math.isinf(high) else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _difference(measure: Measure, one: Comparison | None) -> tuple[str, str, str]:
    if one is None:
        return "", "", ""
    if one.too_little:
        return "", "", f"too little to say: {one.too_little}"
    found = between(measure, one.difference.value, one.difference.low, one.difference.high, signed=True)
    ends = f"[{_number(measure, one.low, True)}, {_number(measure, one.high, True)}]"
    return found, ends, "< 0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}"


def _number(measure: Measure, value: float, signed: bool) -> str:
    sign = "+" if signed else ""
    if measure.is_share:
        return f"{100 * value:{sign}.1f} %"
    return f"{value:{sign}.4g}"
