"""Whose heads are to be fitted, and how each is."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_ray.data.dataset import User
from hydra_ray.fingerprint import fingerprint
from hydra_ray.learn.examples.training_data import TrainingData
from hydra_ray.learn.heads.fitter import FitChoice, HeadFitter
from hydra_ray.learn.heads.tuned import load_tuned, tuned_file
from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads import HeadModel
from hydra_ray.records import UserKey
from hydra_ray.settings import Settings
from hydra_ray.store.protocol import Store

# What of the settings says when and where heads are fitted, and not how.
_WHEN_AND_WHERE = {"mode", "users_per_batch", "users_per_shard", "encoders", "refit_items", "refit_per_minute"}


@dataclass(frozen=True, slots=True)
class HeadFingerprints:
    """Gives the fingerprint of all that a user's head is fitted from; it is kept with the head.

    Attributes:
        how: How heads are fitted.
    """

    how: str

    def __call__(self, data: TrainingData, role: str, user: User) -> str:
        """Return the fingerprint of a user: 24 characters."""
        return fingerprint(data.fingerprint(role, user), self.how)


def head_fingerprints_of(settings: Settings, version: str) -> HeadFingerprints:
    """Make what gives fingerprints of heads of a version, as settings have heads fitted."""
    # Tuned settings are looked at as a whole: whose cohort changed is not known before features are there.
    path = tuned_file(settings.model_dir, version)
    tuned = path.read_text() if settings.fit.tuned and path.exists() else ""
    return HeadFingerprints(settings.fit.model_dump_json(exclude=_WHEN_AND_WHERE) + tuned)


def changed_users(data: TrainingData, role: str, store: Store, version: str, settings: Settings) -> dict[UserKey, str]:
    """Users whose head is missing or was fitted from something else, with the fingerprints of what they teach now."""
    fingerprint_of, users = head_fingerprints_of(settings, version), data.dataset.users
    had = store.head_fingerprints(version, role, [user.key for user in users])
    fingerprints = {user.key: fingerprint_of(data, role, user) for user in users}
    return {key: now for key, now in fingerprints.items() if had.get(key) != now}


def make_fitter(settings: Settings, version: str, model: HeadModel, role: str) -> HeadFitter:
    """Make what fits heads: as settings say, or as a search found for the user's cohort where there was one."""
    tuned = load_tuned(tuned_file(settings.model_dir, version)).get(role) if settings.fit.tuned else None
    default = FitChoice(settings.fit)

    def choose(features: UserFeatures) -> FitChoice:
        return tuned.choose(features, settings.fit) if tuned else default

    return HeadFitter(model, choose, settings.base.loss)
