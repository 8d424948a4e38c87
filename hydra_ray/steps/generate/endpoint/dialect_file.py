"""Keeps what was learnt of endpoints' dialects on disk beside the answers, so that each refusal teaches once.

One JSON object: under an endpoint's URL and a model's name the dialect, and under "answered" the forms of requests that
were answered, each as the names of its fields.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hydra_ray.atomic import write_text
from hydra_ray.steps.generate.endpoint.dialect import Dialect

log = logging.getLogger(__name__)

_CHECKED: TypeAdapter[Dialect] = TypeAdapter(Dialect)
# No endpoint's name: those are a URL, a blank and a model.
_ANSWERED = "answered"


class DialectFile:
    """A JSON file of dialects, each under the endpoint's URL and the model's name.

    Processes that write at the same moment may lose what one of them learnt, which is then learnt again.

    Args:
        path: Path of the file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def get(self, endpoint: str, model: str) -> Dialect | None:
        """Return the dialect of an endpoint as far as it is known; None where none is kept or it cannot be read."""
        known = self._read().get(_name(endpoint, model))
        if known is None:
            return None
        try:
            return _CHECKED.validate_python(known)
        except ValidationError as error:
            log.warning("%s: what it holds of %s is not used: %s", self._path, endpoint, error.errors()[0]["msg"])
            return None

    def put(self, endpoint: str, model: str, dialect: Dialect) -> None:
        """Keeps what is known. Where nothing can be written that is logged: it costs refusals, not answers."""
        self._write(endpoint, {_name(endpoint, model): dialect.differs()})

    def answered(self, endpoint: str, model: str) -> set[frozenset[str]]:
        """Forms of requests, by the names of their fields, that the endpoint answered before."""
        forms = self._read_answered().get(_name(endpoint, model), [])
        return {frozenset(form) for form in forms if isinstance(form, list)}

    def put_answered(self, endpoint: str, model: str, forms: Iterable[frozenset[str]]) -> None:
        """Keeps that requests of these forms were answered; as `put`."""
        listed = sorted(sorted(form) for form in forms)
        self._write(endpoint, {_ANSWERED: self._read_answered() | {_name(endpoint, model): listed}})

    def _read_answered(self) -> dict[str, Any]:
        answered = self._read().get(_ANSWERED)
        return answered if isinstance(answered, dict) else {}

    def _write(self, endpoint: str, changed: dict[str, Any]) -> None:
        if self._path is None:
            return
        known = self._read() | changed
        try:
            write_text(self._path, json.dumps(known, indent=1, sort_keys=True))
        except OSError as error:
            log.warning("%s: what was learnt of %s cannot be kept: %s", self._path, endpoint, error)

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s: cannot be read, so endpoints' dialects are learnt again: %s", self._path, error)
            return {}
        return known if isinstance(known, dict) else {}


def _name(endpoint: str, model: str) -> str:
    return f"{endpoint} {model}"
