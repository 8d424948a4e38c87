"""What a date says: an interval of time in UTC.

Dates stay the text that they were given as; whoever compares or sorts them does it by what this module reads from
them. `datetime.fromisoformat` cannot tell a day from its midnight, and parsers that guess (python-dateutil) take
"3/9/2021" for one of two days in silence. So the forms are listed here, and all else is refused by whoever takes dates
in. A store that version 0.1.0 wrote may hold any text: what cannot be read counts as unknown there, and is logged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple, TypeVar

log = logging.getLogger(__name__)

# What `span` reads, in words, for messages.
ACCEPTED = (
    "a year (2021), a month (2021-03), a day (2021-03-09), an ISO date-time (2021-03-09T14:30:00+01:00; UTC where it "
    "has no zone) or a number of seconds or milliseconds since 1970"
)

T = TypeVar("T")

_SECOND = 10**9
_DAY = 86_400 * _SECOND
_LONGEST = 64

_WRITTEN = re.compile(
    r"""
    (?P<year>\d{4})
    (?:
        (?P<between>[-/]) (?P<month>\d{1,2}) (?: (?P=between) (?P<day>\d{1,2}) (?P<of_day>(?:T|\s+).+)? )?
      | (?P<basic>\d{4}) (?P<of_basic>(?:T|\s+).+)
    )?
    """,
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
_CLOCK = re.compile(
    r"""
    (?:T|\s+)
    (?P<hour>\d{1,2})
    (?: (?P<colon>:?) (?P<minute>\d{2}) (?: (?P=colon) (?P<second>\d{2}) (?: [.,] (?P<fraction>\d+) )? )? )?
    (?: \s*
        (?: Z | UTC | GMT
          | (?P<sign>[+-]) (?P<hours>\d{1,2}) (?: :? (?P<minutes>\d{2}) (?: :? (?P<seconds>\d{2}) )? )?
        )
        (?: \[ [^\[\]]+ \] )*     # RFC 9557 repeats the zone's name behind its offset
    )?
    """,
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?P<sign>-?)(?P<whole>\d+)(?:\.(?P<rest>\d+))?(?:e\+?(?P<shift>\d{1,2}))?", re.ASCII | re.IGNORECASE
)
# Digits that are a calendar's: YYYYMMDD or YYYYMMDDHHMMSS of these centuries, and not so many seconds since 1970.
_PACKED = re.compile(r"(?P<day>(?:19|20|21)\d{6})(?P<clock>\d{6})?", re.ASCII)

# Numbers below each bound are of this many nanoseconds. Counted in its own unit, any moment from 1973 to 5138 is there.
_UNITS = ((10**11, _SECOND), (10**14, 10**6), (10**17, 10**3), (10**20, 1))
# Seconds until 1973: more likely a numbering, or a year or day that misses a digit, than a moment.
_SMALL = 10**8


class Span(NamedTuple):
    """A half-open interval of time, in nanoseconds since 1970 in UTC."""

    start: int
    end: int


def span(ts: str) -> Span:
    """The time that a date stands for: all of its year, month, day, hour, minute, second or fraction of a second.

    Years have four digits. Days are written with dashes or slashes, padded or not, or as eight digits; times follow
    behind "T" or blanks, with or without colons, a fraction and a zone; a time without a zone is in UTC. All other
    numbers count from 1970, negative ones before it: seconds below 1e11, milliseconds below 1e14, microseconds below
    1e17, nanoseconds below 1e20, by their absolute value. 24:00 is the next day's beginning, and a leap second is the
    second before it.

    Raises:
        ValueError: It is none of these, or no date of the calendar (years 1 to 9999).
    """
    found = _read(ts)
    if found is None:
        raise ValueError(f"is no date that can be read: write {ACCEPTED}")
    return found


def is_date(ts: str) -> bool:
    """Whether `span` can read it."""
    return _read(ts) is not None


def before(ts: str | None, than: str | None, *, same: bool = False) -> bool:
    """Whether what is dated `ts` may be known at `than`: its time ends before, or just when, the other begins.

    So a year is not before its own months, nor a day before its own hours. An unknown date hides nothing.

    Args:
        ts: When the thing happened that may be known.
        than: When the one acts who may know it.
        same: Whether what is of exactly the same date counts as known.
    """
    one, other = _known(ts), _known(than)
    return one is None or other is None or one.end <= other.start or (same and one == other)


def surely_before(ts: str | None, than: str | None) -> bool:
    """As `before`, for what is somebody else's: what has no date may only be known where there is no date to keep."""
    return _known(than) is None or (_known(ts) is not None and before(ts, than))


def in_order(things: Iterable[T], ts_of: Callable[[T], str | None]) -> list[T]:
    """Things by time, oldest first: by where their dates begin, then by where they end; equal ones as they came.

    Things without a date keep their places, and the others are ordered around them.
    """
    ordered = list(things)
    dated = [(found, place) for place, thing in enumerate(ordered) if (found := _known(ts_of(thing))) is not None]
    moved = [ordered[place] for _, place in sorted(dated)]
    for (_, place), thing in zip(dated, moved, strict=True):
        ordered[place] = thing
    return ordered


def latest(stamps: Iterable[str | None]) -> str | None:
    """The date that begins last; None where nothing is dated."""
    return max((ts for ts in stamps if _known(ts)), key=_known, default=None)  # type: ignore[arg-type]


def earliest(stamps: Iterable[str | None]) -> str | None:
    """The date that begins first; None where nothing is dated."""
    return min((ts for ts in stamps if _known(ts)), key=_known, default=None)  # type: ignore[arg-type]


def numbered_and_written(stamps: Sequence[str]) -> tuple[str, str] | None:
    """A small number and a date of the calendar, where there are both.

    One numbering, from 998 to 1002, say, would be read half as seconds and half as years.
    """
    number = next((ts for ts in stamps if _is_small(ts)), None)
    written = next((ts for ts in stamps if not _counts(ts)), None) if number is not None else None
    return None if number is None or written is None else (number, written)


def _known(ts: str | None) -> Span | None:
    if ts is None:
        return None
    found = _read(ts)
    if found is None:
        _tell(ts)
    return found


@lru_cache(maxsize=1 << 10)
def _tell(ts: str) -> None:
    """Logs, once, that a date cannot be read."""
    log.warning("a date cannot be read and counts as unknown: %r", ts[:_LONGEST])


# Histories are compared and ordered again and again.
@lru_cache(maxsize=1 << 16)
def _read(ts: str) -> Span | None:
    text = ts.strip()
    if len(text) > _LONGEST:
        return None
    try:
        return _written(text) or _packed(text) or _counted(text)
    except ValueError:
        # The 31st of June, or the 25th hour.
        return None


def _written(text: str) -> Span | None:
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    year = int(found["year"])
    if found["basic"]:
        day = date(year, int(found["basic"][:2]), int(found["basic"][2:]))
        return _with_clock(day, found["of_basic"])
    if found["month"] is None:
        return _days(date(year, 1, 1), date(year, 12, 31))
    month = int(found["month"])
    if found["day"] is None:
        return _days(date(year, month, 1), date(year, month, _last_day(year, month)))
    day = date(year, month, int(found["day"]))
    return _with_clock(day, found["of_day"]) if found["of_day"] else _days(day, day)


def _packed(text: str) -> Span | None:
    found = _PACKED.fullmatch(text)
    if found is None:
        return None
    digits, clock = found["day"], found["clock"]
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
        return _with_clock(day, f"T{clock}") if clock else _days(day, day)
    except ValueError:
        if clock:
            # Read as milliseconds it were of the 26th century.
            raise
        # Some other number.
        return None


def _counted(text: str) -> Span | None:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    rest, shift = (found["rest"] or "").rstrip("0"), int(found["shift"] or 0)
    if shift > len(found["rest"] or ""):
        # Its last digits were lost on the way.
        return None
    rest = rest.ljust(shift, "0")
    whole, rest = found["whole"] + rest[:shift], rest[shift:]
    if not rest and not found["sign"] and found["shift"] is None and len(found["whole"]) == 4:
        # "2021.0": a year that went through floats.
        return _written(whole)
    unit = next((unit for below, unit in _UNITS if int(whole) < below), None)
    if unit is None or (rest and int(whole) < _SMALL):
        # A fraction of a small number is more likely a year and a month.
        return None
    scale = 10 ** len(rest)
    value = int(whole + rest) * unit * (-1 if found["sign"] else 1)
    start = value // scale
    return Span(start, start + max(1, unit // scale))


def _with_clock(day: date, clock: str) -> Span:
    found = _CLOCK.fullmatch(clock)
    if found is None:
        raise ValueError("no time of day")
    if found["colon"] == "" and found["minute"] and len(found["hour"]) == 1:
        raise ValueError("three digits are no time")
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    fraction = (found["fraction"] or "")[:9]
    if second == 60:
        second, fraction = 59, ""
    ends_day = hour == 24 and not minute and not second and not fraction.strip("0")
    if (hour > 23 and not ends_day) or minute > 59 or second > 59:
        raise ValueError("no time of day")
    exact = _SECOND // 10 ** len(fraction)
    if found["second"] is None:
        exact = (60 if found["minute"] else 3600) * _SECOND
    start = _start(day) + ((hour * 60 + minute) * 60 + second) * _SECOND + int(fraction.ljust(9, "0")) - _offset(found)
    return Span(start, start + exact)


def _offset(found: re.Match[str]) -> int:
    hours, minutes, seconds = (int(found[name] or 0) for name in ("hours", "minutes", "seconds"))
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError("no zone")
    return ((hours * 60 + minutes) * 60 + seconds) * (-_SECOND if found["sign"] == "-" else _SECOND)


def _days(first: date, last: date) -> Span:
    return Span(_start(first), _start(last) + _DAY)


def _start(day: date) -> int:
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * _DAY


def _last_day(year: int, month: int) -> int:
    return 31 if month == 12 else date(year, month + 1, 1).toordinal() - date(year, month, 1).toordinal()


def _counts(ts: str) -> bool:
    """Whether it is a number that counts from 1970."""
    text = ts.strip()
    found = _NUMBER.fullmatch(text)
    return found is not None and _packed(text) is None and not (len(found["whole"]) == 4 and not found["sign"])


def _is_small(ts: str) -> bool:
    return _counts(ts) and -_SMALL * _SECOND < span(ts).start < _SMALL * _SECOND
