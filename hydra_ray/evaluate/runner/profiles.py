"""Profiles of the users of one evaluation, each written once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.profiles.writer import ProfileWriter
from hydra_ray.store.types import UserProfile


class StoredProfiles(Protocol):
    """Source of profiles that were written before."""

    def profile(self, key: UserKey, kind: str) -> UserProfile | None:
        """Return a user's profile of a kind; None for a user without one."""
        ...


class ProfileBook:
    """Writes a profile when it is first asked for; those who ask meanwhile wait for the same one.

    A stored profile is taken only where it was made of exactly what the query may see: one that was made of later
    history would give away answers to come.

    Args:
        write: Writer that is asked for each profile that is lacking.
        stored: Source that is looked at first; None where nothing is stored.
    """

    def __init__(self, write: ProfileWriter, stored: StoredProfiles | None = None) -> None:
        self._write = write
        self._stored = stored
        self._profiles: dict[tuple[UserKey, str, str], asyncio.Future[UserProfile]] = {}

    async def __call__(
        self, kind: str, user: UserKey, history: Sequence[HistoryItem], asked_at: str | None
    ) -> UserProfile:
        """Return a profile, arguments as `ProfileWriter`; one that failed for now is tried again on the next call."""
        wanted = self._write.fingerprints(kind, history, asked_at)
        key = user, kind, wanted.what
        if key not in self._profiles:
            known = self._stored.profile(user, kind) if self._stored else None
            if known is not None and known.fingerprint == wanted:
                return known
            self._profiles[key] = asyncio.ensure_future(self._write(kind, user, history, asked_at))
        writing = self._profiles[key]
        try:
            return await asyncio.shield(writing)
        except Exception as error:
            final = isinstance(error, GenerateError) and error.final
            if not final and self._profiles.get(key) is writing:
                del self._profiles[key]
            raise
