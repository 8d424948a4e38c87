"""Kinds of profiles by name, and who writes them. A new kind is one file and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.dates import earliest, latest
from hydra_ray.fingerprint import fingerprint
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.steps.profiles.differences import Dpl
from hydra_ray.steps.profiles.profile import Pag, ProfileKind, ProfileRules, ProfileTools
from hydra_ray.store.types import ProfileFingerprint, UserProfile

# Bytes of a fingerprint, as stores hold them.
_SIZE = 16

KINDS: dict[str, ProfileKind] = {"pag": Pag(), "dpl": Dpl()}


def check_kind(kind: str, setting: str) -> None:
    """Refuses a kind that there is not.

    Raises:
        HydraError: Names the setting.
    """
    if kind not in KINDS:
        raise HydraError(f"{setting}: there is no kind of profile {kind!r}; there are {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True)
class ProfileFingerprints:
    """Knows when a profile is out of date. Which LLM wrote it does not matter: another one goes on with it."""

    rules: ProfileRules

    def __call__(self, kind: str, history: Sequence[HistoryItem], asked_at: str | None = None) -> ProfileFingerprint:
        """Return a profile's fingerprint: how it is written, of which history, and until when others' texts are read.

        Args:
            kind: Kind of the profile, a name of `KINDS`.
            history: History items of the user that may be seen, oldest first.
            asked_at: Date of the query that the profile is for; None where it has none.
        """
        how = fingerprint(kind, self.rules.task.kind, KINDS[kind].basis(self.rules), size=_SIZE)
        seen = [(item.id, item.output) for item in history]
        return ProfileFingerprint(how, fingerprint(how, cut_off(history, asked_at), seen, size=_SIZE), len(history))

    def is_fresh(self, kept: ProfileFingerprint | None, kind: str, history: Sequence[HistoryItem]) -> bool:
        """Return whether a profile is still of use: written as it would be now, with little history since."""
        if kept is None:
            return False
        now = self(kind, history)
        grown = now.seen - kept.seen
        return kept == now or (kept.how == now.how and 0 <= grown < self.rules.options.refresh_items)


@dataclass(frozen=True, slots=True)
class ProfileWriter:
    """Writes profiles of any kind."""

    tools: ProfileTools

    @property
    def fingerprints(self) -> ProfileFingerprints:
        """Fingerprints of the profiles that these tools write."""
        return ProfileFingerprints(self.tools.rules)

    async def __call__(
        self, kind: str, user: UserKey, history: Sequence[HistoryItem], asked_at: str | None = None
    ) -> UserProfile:
        """Writes a profile; an empty one, which costs no call, of a user without history.

        Args:
            kind: Kind of the profile, a name of `KINDS`.
            user: The user whom the profile is of.
            history: History items of the user that may be seen, oldest first.
            asked_at: Date of the query that the profile is for; None where it has none.

        Raises:
            GenerateError: The LLM gave no answer.
        """
        made_from = self.fingerprints(kind, history, asked_at)
        if not history:
            return UserProfile(kind, "", made_from)
        draft = await KINDS[kind](self.tools, user, history, cut_off(history, asked_at))
        return UserProfile(kind, draft.text, made_from, draft.peers, draft.degraded, draft.dropped)


def cut_off(history: Sequence[HistoryItem], asked_at: str | None = None) -> str | None:
    """Until when other people's texts may be read: the date of the newest item that the query may see, or its own where
    that is earlier.

    As a rule no query that sees these items is asked earlier, so one profile serves all of them. Where no item is
    dated, the query's own date counts.
    """
    return earliest([latest(item.ts for item in history), asked_at])
