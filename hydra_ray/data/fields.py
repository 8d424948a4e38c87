"""The fields of one record as it was read, and the checks that all readers share."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isfinite
from typing import Any

from hydra_ray.data.dataset import LeftOut
from hydra_ray.data.errors import RecordError, shown
from hydra_ray.records import as_user_id

# Whole numbers from here on share a float with their neighbours.
_EXACT = 2**53
# How programs write floats; the ids that look alike ("12e5", a hexadecimal one) have neither point nor sign.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d+[eE][+-]?\d+|[eE][+-]\d+)")
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
# pandas writes a time that is missing so, whatever the format.
_NO_TIME = "NaT"
_TIMES = ("ts", "date", "timestamp")


class Repeated(dict[str, Any]):
    """A JSON object that names a key twice; `key` is the first such one."""

    key = ""


class Rounded(float):
    """A number that may have been another before it was stored: whole numbers beyond what its column can hold."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of the records of one data format.

    Attributes:
        needs: The layout in words; ends the message about a missing field.
        fields: Fields that are read; a table's other columns are not even loaded.
        required: The fields that every record has; a table without such a column is refused at once.
    """

    needs: str
    fields: tuple[str, ...]
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one record; every complaint says where the record is.

    Attributes:
        values: The record as it was read. Numbers that are none (NaN, infinity) count as missing.
        place: Where it is, e.g. `dev_questions.json, record 17 (id "4a01")`.
        needs: Layout of such records, in words; ends the message about a missing field.
        typed: Whether the file tells numbers from text; CSV does not.
    """

    values: Mapping[str, Any]
    place: str
    needs: str = ""
    typed: bool = True

    @classmethod
    def of(cls, value: object, place: str, needs: str = "") -> Fields:
        """Return the fields of a JSON value.

        Raises:
            RecordError: The value is not an object, or says a key twice.
        """
        if not isinstance(value, dict):
            complaint = f"is {kind_of(value)}, not an object."
            raise RecordError(f"{place} {complaint} {needs}".rstrip(), place, complaint[:-1])
        if isinstance(value, Repeated):
            complaint = f'says "{shown(value.key)}" twice.'
            raise RecordError(f"{place} {complaint} Leave one of them.", place, complaint[:-1])
        return cls(value, place, needs)

    def at(self, place: str) -> Fields:
        """Return the same record with another text for its place."""
        return replace(self, place=place)

    def value(self, name: str) -> Any:
        """Return a field as it was read; None where it is missing."""
        value = self.values.get(name)
        if isinstance(value, (float, Decimal)) and not isfinite(value):
            return None
        return None if value == _NO_TIME and name in _TIMES else value

    def text(self, name: str) -> str:
        """Return a field that must be there; numbers are taken as text.

        Raises:
            RecordError: The field is missing, or neither text nor a number.
        """
        value = self.optional(name)
        if value is None:
            raise self.missing(name)
        return value

    def optional(self, *names: str) -> str | None:
        """Return the first of these fields that is there and not null, as text.

        Raises:
            RecordError: The field is neither text nor a number, or text that UTF-8 cannot hold.
        """
        for name in names:
            value = self.value(name)
            if value is not None:
                return self._as_text(value, name)
        return None

    def identity(self, *names: str) -> str | None:
        """Return the first of these fields that is there and not null, as an id of which no digit may be lost.

        Raises:
            RecordError: The field is neither text nor a whole number, holds text that UTF-8 cannot, or went through
                floats and may have lost digits.
        """
        for name in names:
            value = self.value(name)
            if value is None:
                continue
            if isinstance(value, float):
                if isinstance(value, Rounded) or not value.is_integer() or abs(value) >= _EXACT:
                    raise self._lost(name, value)
                return str(int(value))
            if isinstance(value, Decimal) and value != int(value):
                raise self.error(
                    f'has {value:f} as "{name}". Ids are text or whole numbers.', f'has a fraction as "{name}"'
                )
            text = self._as_text(value, name)
            if _EXPONENT.fullmatch(text.strip()):
                raise self._lost(name, text)
            if not self.typed and (whole := _WHOLE.fullmatch(text.strip())):
                # A column of whole numbers with a gap, as pandas writes it.
                if abs(int(whole[1])) >= _EXACT:
                    raise self._lost(name, text)
                return str(int(whole[1]))
            return text
        return None

    def needed_identity(self, *names: str) -> str:
        """Return the same as `identity`, of which one field must be there."""
        identity = self.identity(*names)
        if identity is None:
            raise self.missing(names[0])
        return identity

    def user(self, left_out: LeftOut, name: str = "user_id") -> str:
        """Return the id of the record's user; blanks around it are taken away and counted.

        Raises:
            RecordError: The id is missing, blank, or none that can be kept.
        """
        identity = self.needed_identity(name)
        try:
            user = as_user_id(identity)
        except ValueError as error:
            raise self.error(f'has a "{name}" that {error}. {self.needs}'.rstrip(), f'"{name}" {error}') from None
        if user != identity:
            left_out.note(f'blanks around "{name}" taken away', self.place)
        return user

    def rows(self, name: str) -> list[Any]:
        """Return a list that must be there; tables may hold it as JSON.

        Raises:
            RecordError: The field is missing, or not a list.
        """
        value = self.value(name)
        if value is None:
            raise self.missing(name)
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = self._parsed(value, name)
        if not isinstance(value, list):
            raise self.error(f'has {kind_of(value)} as "{name}", not a list.')
        return value

    def missing(self, name: str) -> RecordError:
        """Return an error about a field that is not there."""
        return self.error(f'has no "{name}". {self.needs}'.rstrip(), f'has no "{name}"')

    def error(self, complaint: str, reason: str = "") -> RecordError:
        """Return an error about this record.

        Args:
            complaint: Rest of the message, which reads on from the place.
            reason: Text that all records of the same fault share; by default the complaint's first sentence.
        """
        return RecordError(f"{self.place} {complaint}", self.place, reason or complaint.partition(". ")[0].rstrip("."))

    def _as_text(self, value: object, name: str) -> str:
        if isinstance(value, bytes):
            # A Parquet column that its writer did not mark as text.
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                raise self.error(f'has bytes as "{name}" that are not UTF-8. Save it as text.') from None
        if isinstance(value, str):
            return self._storable(value, name)
        # bool is an int to Python, but neither an answer nor an id.
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise self.error(f'has {kind_of(value)} as "{name}". Write it as text.')
        # Not by the remainder: of more than 28 digits decimals have none.
        return str(int(value)) if value == int(value) else f"{value:f}" if isinstance(value, Decimal) else str(value)

    def _storable(self, text: str, name: str) -> str:
        # JSON can escape what neither files nor databases take.
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self.error(f'has half a surrogate pair in "{name}". Take it out.') from None
        return text

    def _lost(self, name: str, value: object) -> RecordError:
        return self.error(
            f'has {shown(value)} as "{name}", which went through floats, where ids lose digits. Write ids as text.',
            f'has a "{name}" that went through floats, where ids lose digits',
        )

    def _parsed(self, text: str, name: str) -> Any:
        try:
            return parse_json(text)
        except (ValueError, RecursionError):
            raise self.error(f'has text as "{name}" that is no JSON list.') from None


def parse_json(text: str) -> Any:
    """A JSON value; objects that name a key twice are `Repeated`."""
    return _DECODER.decode(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    seen: set[str] = set()
    repeated = Repeated(values)
    repeated.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return repeated


# One for all: made anew for each line it would take longer than the line.
_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def kind_of(value: object) -> str:
    """Name the kind of a JSON value."""
    if isinstance(value, dict):
        return "an object"
    kinds = {list: "a list", str: "text", bytes: "bytes", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float | Decimal) else type(value).__name__)
