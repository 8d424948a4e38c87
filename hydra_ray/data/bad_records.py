"""Counts records that cannot be used and tells them all together; so many may be left out."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from types import TracebackType

from hydra_ray.data.dataset import LeftOut
from hydra_ray.data.errors import DataError, RecordError

log = logging.getLogger(__name__)


class BadRecords:
    """Collects the bad records of one data set while reading goes on.

    Args:
        allowed: `data.skip_bad`: how many may be left out, or below 1 which share of all.

    Attributes:
        read: Records seen so far, good and bad.
        left_out: The bad ones by reason, with what was changed in others.
    """

    def __init__(self, allowed: float) -> None:
        self.read = 0
        self.left_out = LeftOut()
        self._allowed = allowed
        self._bad = 0
        self._aside = _Aside(self)
        # The first message of each reason tells the way out.
        self._messages: dict[str, str] = {}

    def add(self, error: RecordError) -> None:
        """Counts a record that cannot be used."""
        self._bad += 1
        self._messages.setdefault(error.reason, str(error))
        self.left_out.note(error.reason, error.place)

    def aside(self) -> AbstractContextManager[None, bool]:
        """Return a context that collects the error of one record, so that reading goes on with the next."""
        return self._aside

    def settle(self, source: str) -> None:
        """Decides when all is read; what is left out is logged.

        Raises:
            DataError: More records are bad than may be left out, or there is no good one; all reasons are told, with
                the first few places of each.
        """
        if not self.read:
            raise DataError(f"{source}: there is no record in it.")
        if not self._bad:
            return
        most = self._allowed if self._allowed >= 1 else self._allowed * self.read
        if self._bad > most:
            if self._bad == 1 and not self._allowed:
                raise DataError(next(iter(self._messages.values())))
            raise DataError(self._complaint(source, f"cannot be used, and data.skip_bad={self._allowed} allows fewer"))
        if self._bad == self.read:
            raise DataError(self._complaint(source, "cannot be used, so none is left"))
        log.warning("%s", self._complaint(source, "are left out, as data.skip_bad allows"))

    def _complaint(self, source: str, fate: str) -> str:
        lines = [f"{source}: {self._bad} of {self.read} records {fate}:"]
        lines += [self._reason_line(reason) for reason in self._messages]
        return "\n  ".join(lines)

    def _reason_line(self, reason: str) -> str:
        """The first record of a reason in full, and where the others are."""
        count, (first, *others) = self.left_out.counts[reason], self.left_out.examples[reason]
        if count == 1:
            return self._messages[reason]
        # A file is named once as long as it stays the same.
        files = [place.partition(", ")[0] for place in (first, *others)]
        reasons = [
            place.removeprefix(f"{file}, ") if file == before else place
            for place, file, before in zip(others, files[1:], files, strict=False)
        ]
        more = f" and {count - 1 - len(others)} more" if count - 1 > len(others) else ""
        return f"{self._messages[reason]} {count} are so, also {'; '.join(reasons)}{more}."


class _Aside(AbstractContextManager[None, bool]):
    """One for all records: it is entered for each, so it is to cost little."""

    def __init__(self, bad: BadRecords) -> None:
        self._bad = bad

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, RecordError):
            self._bad.add(error)
            return True
        return False
