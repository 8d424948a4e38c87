"""Rules of schedules: a RayCronJob's (`ValidateRayCronJobSpec`) and a CronJob's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from hydra_ray.k8s.check.reading.objects import text

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Name, least, most and names of numbers, in the order of the five fields.
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_EVERY = re.compile(r"@every (\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+")


def schedule_problems(
    spec: Mapping[str, Any], rule: str = "KubeRay: ValidateRayCronJobSpec"
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with `schedule` and `timeZone`, paths below the spec; lines name the rule."""
    schedule, zone = text(spec.get("schedule")), spec.get("timeZone")
    if "TZ" in schedule:
        yield "schedule", f"a time zone is told by timeZone ({rule})"
    elif said := _wrong(schedule):
        yield "schedule", f"{said} ({rule})"
    if zone is not None and not _is_zone(text(zone)):
        yield "timeZone", f'there is no time zone "{text(zone)}" ({rule})'


def _wrong(schedule: str) -> str:
    """What is wrong with a schedule; empty when nothing is."""
    if schedule.startswith("@"):
        known = schedule in _MACROS or _EVERY.fullmatch(schedule)
        return "" if known else f'"{schedule}" is no schedule: five fields, or {", ".join(_MACROS)}'
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        return f'"{schedule}" has {len(parts)} fields, not five: minute, hour, day, month, day of the week'
    for part, (name, least, most, names) in zip(parts, _FIELDS, strict=True):
        if not all(_fits(one, least, most, names) for one in part.split(",")):
            return f'"{part}" is no {name}: {least} to {most}, ranges, lists or steps of them'
    return ""


def _fits(part: str, least: int, most: int, names: tuple[str, ...]) -> bool:
    range_, slash, step = part.partition("/")
    if slash and (not step.isascii() or not step.isdigit() or int(step) == 0):
        return False
    if range_ in ("*", "?"):
        return True
    numbers = []
    for end in range_.split("-"):
        word = end.lower()
        if word in names:
            numbers.append(names.index(word) + least)
        elif word.isascii() and word.isdigit():
            numbers.append(int(word))
        else:
            return False
    return len(numbers) <= 2 and all(least <= one <= most for one in numbers) and numbers == sorted(numbers)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True
