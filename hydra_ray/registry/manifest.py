"""What a published version of the base says of itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from hydra_ray.records import HydraError, UserKey
from hydra_ray.tasks import Task

SCHEMA = "hydra-ray/model/v1"
MANIFEST, USERS = "manifest.json", "users.txt"

_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
# A password between the scheme and the host of a URL, or among its parameters.
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
_PARAMETER = re.compile(r"(?i)([?&](?:access_key|secret_key|session_token|password|sas_token)=)[^&\s]*")

Decision = tuple[str, str, tuple[str, ...]]


class PublishedFile(BaseModel):
    """One file of a version: its SHA-256 in hexadecimal digits, and its size."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int


class Probes(BaseModel):
    """What one role was asked when it was published, and the logits that it gave under the shared head.

    Attributes:
        precision: Arithmetic that the encoder ran in then.
        decisions: Texts of each decision, as the encoder takes them.
        scores: Logit of each decision.
    """

    model_config = ConfigDict(frozen=True)

    precision: str
    decisions: tuple[Decision, ...]
    scores: tuple[float, ...]


class Manifest(BaseModel):
    """Manifest of a version.

    Attributes:
        version: Name of the version.
        created: When it was published, as ISO text in UTC.
        task_values: Task as `Task.to_json` gives it.
        settings: Settings that it was trained with, without secrets.
        users: Number of users whose data it was fitted on; None where that is not known.
        metrics: What training reported last, by role.
        parent: Version that was served when this one was trained; None where there was none.
        probes: Inputs and scores of the smoke check, by role.
        files: SHA-256 and size of each file, by its path below the version's folder.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    version: str
    created: str
    task_values: dict[str, Any]
    settings: dict[str, Any]
    users: int | None
    metrics: dict[str, dict[str, float]]
    parent: str | None
    probes: dict[str, Probes]
    files: dict[str, PublishedFile] = {}

    @field_validator("task_values", "settings", mode="before")
    @classmethod
    def _as_json_has_it(cls, values: Any) -> Any:
        return json.loads(json.dumps(values))

    @property
    def task(self) -> Task:
        """Task that the base was trained for."""
        return Task.from_json(self.task_values)

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles that the base has."""
        return tuple(self.probes)

    @property
    def created_s(self) -> int:
        """When it was published, in seconds since 1970."""
        return int(datetime.fromisoformat(self.created).timestamp())

    def to_json(self) -> str:
        """Return the text of the manifest's file."""
        return json.dumps({"schema": SCHEMA, **self.model_dump(mode="json")}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, place: str) -> Manifest:
        """Read what `to_json` wrote.

        Args:
            text: Content of the file.
            place: Path or URI of the manifest, for messages.

        Raises:
            HydraError: The manifest is damaged, or of another schema.
        """
        try:
            values = json.loads(text)
            schema = values.pop("schema", None) if isinstance(values, dict) else None
            if schema is not None and schema != SCHEMA:
                raise HydraError(f"{place} has schema {schema!r}, not {SCHEMA!r}: update hydra-ray")
            manifest = cls.model_validate(values)
            _ = manifest.task
        except (ValidationError, ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise HydraError(f"{place} is damaged: {reason}. Copy the version again, or take another one") from None
        return manifest


def check_name(version: str) -> str:
    """Return a version's name if it can be the name of a folder anywhere.

    Raises:
        HydraError: It cannot.
    """
    if not _VERSION.fullmatch(version):
        raise HydraError(f"{version!r} is no version: letters, digits, dots, dashes and underscores, at most 64")
    return version


def user_digest(version: str, user: UserKey) -> str:
    """Return what stands for a user among those whose data a version was fitted on.

    It is keyed by the version, so that lists of two versions cannot be joined.
    """
    said = json.dumps([user.tenant, user.user]).encode()
    return hashlib.blake2b(said, key=version.encode()[:64], digest_size=16).hexdigest()


def users_text(version: str, users: Iterable[UserKey]) -> str:
    """Return the content of a version's list of users."""
    return "".join(f"{digest}\n" for digest in sorted({user_digest(version, user) for user in users}))


def without_secrets(value: Any) -> Any:
    """Return settings with whatever logins their URLs hold left out."""
    if isinstance(value, dict):
        return {name: without_secrets(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(one) for one in value]
    if isinstance(value, str):
        return _PARAMETER.sub(r"\1***", _LOGIN.sub("***@", value))
    return value


def now() -> str:
    """Return the time as manifests have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
