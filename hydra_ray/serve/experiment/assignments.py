"""Draws the arm of a request: the same one for a user, on every replica and after every restart."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

from hydra_ray.records import HydraError, UserKey
from hydra_ray.settings import ArmSettings, ExperimentSettings
from hydra_ray.settings.experiments import DEFAULT, HOLDOUT

# A shorter secret could be found by trying.
_SHORTEST_KEY = 16
_SLIVER = 1e-9


@dataclass(frozen=True, slots=True)
class Assignment:
    """How a request is answered by an online experiment.

    Attributes:
        experiment: Name of the experiment; empty where the request is in none.
        arm: Name of the arm; None where the request is in no experiment.
        propensity: Probability with which it got that arm; 1 where nothing was drawn.
        personal: Whether the user is answered in their own way.
        own_head: Whether the user's own head judges.
        method: Method that answers; None is the tenant's.
        version: Alias or version of the base; None is the one that is served.
    """

    experiment: str
    arm: str | None
    propensity: float
    personal: bool
    own_head: bool
    method: str | None
    version: str | None

    @property
    def logged(self) -> str | None:
        """The arm as the completion log keeps it: with its experiment, since the next one may use the same names."""
        return None if self.arm is None else f"{self.experiment}/{self.arm}"


NOT_IN_IT = Assignment("", None, 1.0, True, True, None, None)


class Assignments:
    """Draws arms by a keyed hash (HMAC-SHA256), so that nobody who lacks the key can tell, or choose, an arm.

    Each user has a number from 0 to 1, and each arm a stretch of these, in the order in which settings name them; what
    they leave is `default`. So an arm that is added behind the others takes its users from there alone. The holdout is
    drawn by the key alone: it stays the same people from one experiment to the next.

    Args:
        settings: The experiment.
        key: The secret.
    """

    def __init__(self, settings: ExperimentSettings, key: bytes) -> None:
        self._settings, self._key = settings, key

    def of(self, user: UserKey | None, completion_id: str) -> Assignment:
        """Return how a request is answered.

        Args:
            user: User whom it is for. Nobody is in no experiment.
            completion_id: Id of its completion, by which the arm is drawn where each request has its own.
        """
        settings = self._settings
        if not settings.runs or user is None:
            return NOT_IN_IT
        if self._point("holdout", user.tenant, user.user) < settings.holdout:
            return Assignment(settings.name, HOLDOUT, settings.holdout, False, False, None, None)
        # What is drawn by request is drawn anew for each: its id is never seen twice.
        drawn_by = (user.tenant, user.user) if settings.by == "user" else (completion_id,)
        # Shares are of all users, and those of the holdout are gone.
        place = self._point("arm", settings.name, *drawn_by) * (1 - settings.holdout)
        rest = 1 - settings.holdout - sum(arm.share for arm in settings.arms.values())
        names = list(settings.arms)
        for name in names:
            place -= settings.arms[name].share
            # Where the arms take everything, rounding may leave a sliver, which is the last one's.
            if place < 0 or (name == names[-1] and rest < _SLIVER):
                return _of_arm(settings.name, name, settings.arms[name])
        return Assignment(settings.name, DEFAULT, rest, True, True, None, None)

    def _point(self, *what: str) -> float:
        """A number from 0 to 1 that only who has the key can tell."""
        parts = [part.encode("utf-8", "surrogatepass") for part in what]
        # With lengths, so that no two lists of parts read the same.
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        digest = hmac.new(self._key, message, hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


def _of_arm(experiment: str, name: str, arm: ArmSettings) -> Assignment:
    return Assignment(experiment, name, arm.share, arm.head != "off", arm.head == "own", arm.method, arm.version)


def read_key(settings: ExperimentSettings) -> bytes:
    """Return the secret by which arms are drawn; empty where there is no experiment.

    Raises:
        HydraError: It cannot be read, or is too short; names the setting.
    """
    if not settings.runs:
        return b""
    if settings.key_file is not None:
        place = f"serve.experiment.key_file: {settings.key_file}"
        try:
            key = settings.key_file.read_bytes().strip()
        except OSError as error:
            raise HydraError(f"{place} cannot be read: {error.strerror}") from None
    else:
        place = f"serve.experiment.key_env: {settings.key_env}"
        key = os.environb.get(str(settings.key_env).encode(), b"").strip()
        if not key:
            raise HydraError(f"{place} is not set in the environment of this process; every replica needs it")
    if len(key) < _SHORTEST_KEY:
        raise HydraError(f"{place} holds {len(key)} bytes: a secret has {_SHORTEST_KEY} or more")
    return key
