"""The request log: a line of JSON for each request, without a word of what was said."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from dataclasses import asdict
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from hydra_ray.logs import StderrHandler
from hydra_ray.records import HydraError, UserKey
from hydra_ray.serve.observe.trace import RequestTrace
from hydra_ray.settings import ObserveSettings
from hydra_ray.steps.generate.prices import Prices

# Milliseconds are told to three digits.
_DIGITS = 6


class RequestLog:
    """Writes the lines.

    Args:
        settings: Section `observe` of the settings.
        prices: Prices of the LLM.

    Raises:
        HydraError: Users' ids are to be hashed, and there is no key.
    """

    def __init__(self, settings: ObserveSettings, prices: Prices) -> None:
        self._prices = prices
        self._key = _user_key(settings) if settings.user_ids == "hashed" else None
        # By itself: the level of other messages is not its, and no line of it is held back for being like the last.
        self._log = logging.getLogger("hydra_ray.serve.requests")
        self._log.propagate = False
        self._log.setLevel(logging.INFO)
        handler = StderrHandler(plain=False)
        handler.setFormatter(JsonFormatter(timestamp="time"))
        self._log.handlers = [handler]

    def __call__(self, trace: RequestTrace) -> None:
        """Writes the line of a request that is over."""
        self._log.info("request", extra=self.fields(trace))

    def fields(self, trace: RequestTrace) -> dict[str, Any]:
        """Return what a line holds, by name."""
        usage = trace.usage
        found = {
            "request_id": trace.request_id,
            "route": trace.route,
            "status": trace.status,
            "whole": trace.is_whole,
            "seconds": _rounded(trace.seconds),
            "first_token_s": _rounded(trace.first_token_s),
            "tenant": trace.tenant,
            "key": trace.key,
            "method": trace.method,
            "arm": trace.arm,
            "propensity": trace.propensity,
            "head": trace.head,
            "gate": trace.gate and asdict(trace.gate),
            "version": trace.version,
            "steps": {step: _rounded(seconds) for step, seconds in trace.step_seconds().items()},
            "said": trace.said,
            "degraded": list(trace.degraded),
            "calls": usage.calls,
            "tokens_in": usage.prompt_tokens,
            "tokens_out": usage.completion_tokens,
            "cost": self._prices.of(usage),
        }
        if self._key is not None:
            found["user"] = None if trace.user is None else user_digest(self._key, trace.user)
        return found


def user_digest(key: str, user: UserKey) -> str:
    """Return what stands for a user in the request log.

    Args:
        key: Key of the digests, as `observe.user_key_env` names it.
        user: The user.
    """
    # No id holds a line break.
    return hmac.new(key.encode(), f"{user.tenant}\n{user.user}".encode(), hashlib.sha256).hexdigest()[:32]


def _user_key(settings: ObserveSettings) -> str:
    key = os.environ.get(settings.user_key_env, "")
    if not key:
        raise HydraError(
            f"observe.user_ids: hashed needs a key: put one into {settings.user_key_env} (openssl rand -hex 32)"
        )
    return key


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, _DIGITS)
