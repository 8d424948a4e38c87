"""Quantities of Kubernetes: `500m` CPUs, `8Gi` of memory."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_UNITS = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18, "m": -3, "u": -6, "n": -9}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_QUANTITY = re.compile(r"([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}))(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)")


def quantity(value: Any) -> Decimal | None:
    """Return a quantity as a number, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        return None
    number, exponent, unit = found.groups()
    if unit in _BINARY:
        return Decimal(number) * Decimal(1024) ** _BINARY[unit]
    return Decimal(number).scaleb(int(exponent) if exponent else _UNITS[unit or ""])
