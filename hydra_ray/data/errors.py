"""The one error of this room, and the checks of a record's fields that the readers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra_ray.records import HydraError


class DataError(HydraError):
    """Outside data that cannot be used; the message names file, record, field and the way out."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one record; every complaint says where the record is.

    Attributes:
        values: The record as it was read.
        place: Where it is, e.g. `dev_questions.json, record 17 (id "4a01")`.
        needs: What such records look like; ends the message about a missing field.
    """

    values: Mapping[str, Any]
    place: str
    needs: str = ""

    @classmethod
    def of(cls, value: object, place: str, needs: str = "") -> Fields:
        """The fields of a JSON value.

        Raises:
            DataError: The value is not an object.
        """
        if not isinstance(value, dict):
            raise DataError(f"{place} is {kind_of(value)}, not an object. {needs}".rstrip())
        return cls(value, place, needs)

    def text(self, name: str) -> str:
        """A field that must be there; numbers are taken as text.

        Raises:
            DataError: It is missing, or neither text nor a number.
        """
        value = self.optional(name)
        if value is None:
            raise self.missing(name)
        return value

    def optional(self, *names: str) -> str | None:
        """The first of these fields that is there and not null.

        Raises:
            DataError: It is neither text nor a number, or text that UTF-8 cannot hold.
        """
        for name in names:
            value = self.values.get(name)
            if value is None:
                continue
            if isinstance(value, str):
                return self._storable(value, name)
            # bool is an int to Python, but neither an answer nor an id.
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self.error(f'has {kind_of(value)} as "{name}". Write it as text.')
            return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        return None

    def _storable(self, text: str, name: str) -> str:
        # JSON can escape what neither files nor databases take.
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self.error(f'has half a surrogate pair in "{name}". Take it out.') from None
        return text

    def rows(self, name: str) -> list[Any]:
        """A list that must be there.

        Raises:
            DataError: It is missing, or not a list.
        """
        value = self.values.get(name)
        if value is None:
            raise self.missing(name)
        if not isinstance(value, list):
            raise self.error(f'has {kind_of(value)} as "{name}", not a list.')
        return value

    def missing(self, name: str) -> DataError:
        """The complaint about a field that is not there."""
        return self.error(f'has no "{name}". {self.needs}'.rstrip())

    def error(self, complaint: str) -> DataError:
        """A complaint about this record; it reads on from the place."""
        return DataError(f"{self.place} {complaint}")


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
