"""Dates of records as the readers take them."""

from __future__ import annotations

from collections.abc import Sequence

from hydra_ray.data.errors import DataError, shown
from hydra_ray.data.fields import Fields
from hydra_ray.dates import ACCEPTED, is_date, numbered_and_written


def read_date(fields: Fields, *names: str) -> str | None:
    """The first of these fields that is there and not blank, as it was given.

    Raises:
        DataError: It is no date that can be read.
    """
    for name in names:
        ts = (fields.optional(name) or "").strip()
        if ts and not is_date(ts):
            raise fields.error(f'has a "{name}" that is no date. "{shown(ts)}" cannot be read: write {ACCEPTED}.')
        if ts:
            return ts
    return None


def check_numbers(user: str, stamps: Sequence[str | None]) -> None:
    """Refuses dates of one user that may be one numbering, of which a part happens to read as years or days.

    Raises:
        DataError: Names the user and two of the dates.
    """
    if found := numbered_and_written([ts for ts in stamps if ts is not None]):
        number, written = found
        raise DataError(
            f'user "{shown(user)}" has the dates "{number}", which counts seconds from 1970, and "{written}", which is '
            f"of the calendar. Write all of a user's dates the same way: {ACCEPTED}."
        )
