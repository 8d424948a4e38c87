"""What was learnt of endpoints' dialects, kept on disk beside the answers, so that each refusal teaches once."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hydra_ray.steps.generate.dialect import Dialect

log = logging.getLogger(__name__)

_CHECKED: TypeAdapter[Dialect] = TypeAdapter(Dialect)


class DialectFile:
    """A JSON file of dialects, each under the endpoint's URL and the model's name.

    Processes that write at the same moment may lose what one of them learnt, which is then learnt again.

    Args:
        path: None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def get(self, endpoint: str, model: str) -> Dialect | None:
        """What is known of an endpoint; None where it was never asked."""
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
        if self._path is None:
            return
        known = self._read() | {_name(endpoint, model): dialect.differs()}
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
            os.replace(partial, self._path)
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
