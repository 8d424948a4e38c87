"""The errors of this room: data that cannot be used, and single records that cannot."""

from __future__ import annotations

from hydra_ray.records import HydraError

_SHOWN = 40


def shown(value: object) -> str:
    """What was read as a message quotes it: its beginning, what is no plain sign escaped, so that a line stays one."""
    text = str(value)
    plain = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text[:_SHOWN])
    return plain if len(text) <= _SHOWN else f"{plain}..."


class DataError(HydraError):
    """Outside data that cannot be used; the message names file, record, field and the way out."""


class RecordError(DataError):
    """One record that cannot be used; `data.skip_bad` may leave it out.

    Attributes:
        place: Where it is, e.g. `records.jsonl, line 17`.
        reason: What is wrong with it, in words that records of the same fault share.
    """

    def __init__(self, message: str, place: str, reason: str) -> None:
        super().__init__(message, place, reason)
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])
