"""Times as people write them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hydra_ray.records import HydraError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds_of(text: str, option: str) -> float:
    """Return a duration in seconds.

    Args:
        text: A number and its unit: 90s, 15m, 12h or 30d.
        option: Name of the option that the text was given for, for the message.

    Raises:
        HydraError: It is not written so.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise HydraError(f"{option}: {text!r} is no duration: write 90s, 15m, 12h or 30d")
    return float(found[1]) * _UNITS_S[found[2]]


def moment_of(text: str, now: float, sign: int, option: str) -> float:
    """Return a moment in seconds since 1970.

    Args:
        text: A date or time in ISO 8601, UTC where it names no other zone, or a duration.
        now: What durations are counted from.
        sign: 1 for durations after now, -1 for those before.
        option: Name of the option that the text was given for, for the message.

    Raises:
        HydraError: It is neither.
    """
    if _DURATION.fullmatch(text.strip()):
        return now + sign * seconds_of(text, option)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise HydraError(f"{option}: {text!r} is neither a date (2026-03-01) nor a duration (30d)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
