"""Lets requests in: for whom each is, and whether quotas have room for it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.requests import Request

from hydra_ray.records import Usage, UserKey
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.principal import Caller, Principal
from hydra_ray.serve.limits.client import LimiterClient
from hydra_ray.serve.limits.quotas import NO_LIMIT, Admission, Kind, Limited, Quota, subject_of
from hydra_ray.serve.observe.trace import current_trace
from hydra_ray.settings import QuotaSettings, Settings


class Admit:
    """Makes the principals of requests, each of which counts as one.

    Args:
        tenants: Settings of each tenant.
        limiter: Asks whether quotas have room; None where there are no quotas.
    """

    def __init__(self, tenants: Mapping[str, Settings], limiter: LimiterClient | None) -> None:
        self._quotas = {name: _quotas(settings) for name, settings in tenants.items()}
        self._limiter = limiter

    async def __call__(self, request: Request, user: str | None) -> Principal:
        """Return the principal of a request: every route begins with this.

        Args:
            request: The request, which came through the guard.
            user: Id of the user whom it names, by `serve.user_from` or in its path; None where it names nobody.

        Raises:
            RequestError: The caller may not act for the user (403), or a quota is used up (429).
        """
        caller: Caller = request.state.caller
        principal = caller.acting_for(user)
        trace = current_trace()
        trace.tenant, trace.key, trace.user = principal.tenant, principal.key, principal.user
        limited = self._limited(principal)
        if self._limiter is None or not limited:
            return principal
        admission = await self._limiter.admit(limited)
        trace.quota_left = admission.tenant_left
        headers = _headers(admission)
        request.state.headers.update(headers)
        if admission.refused is not None:
            raise RequestError(
                f"the {admission.kind}'s limit of {admission.refused} a {admission.per} is reached: ask again in "
                f"{_duration(math.ceil(admission.wait_s))}",
                code="rate_limit_exceeded",
                status=429,
                kind=admission.refused,
                headers={"Retry-After": str(max(1, math.ceil(admission.wait_s)))},
            )
        return principal

    def charge(self, principal: Principal, usage: Usage) -> None:
        """Counts what the LLM took for a request."""
        tokens = usage.prompt_tokens + usage.completion_tokens
        limited = self._limited(principal)
        if self._limiter is not None and limited and tokens:
            self._limiter.charge(limited, tokens)

    def _limited(self, principal: Principal) -> list[Limited]:
        """What counts a request: not what has no quota."""
        names: dict[Kind, str | UserKey | None] = {
            "tenant": principal.tenant,
            "key": principal.key,
            "user": principal.user,
        }
        quotas = self._quotas[principal.tenant]
        return [
            Limited(subject_of(kind, name), kind, quotas[kind])
            for kind, name in names.items()
            if name is not None and quotas[kind] != NO_LIMIT
        ]


def _quotas(settings: Settings) -> dict[Kind, Quota]:
    limits = settings.auth.limits
    return {"tenant": _quota(limits.tenant), "key": _quota(limits.key), "user": _quota(limits.user)}


def _quota(settings: QuotaSettings) -> Quota:
    return Quota(**settings.model_dump())


def _headers(admission: Admission) -> dict[str, str]:
    """What OpenAI's responses say of limits: of requests and of tokens the one that is nearest to its end."""
    headers = {}
    for what, level in admission.levels.items():
        headers[f"x-ratelimit-limit-{what}"] = str(level.limit)
        headers[f"x-ratelimit-remaining-{what}"] = str(level.left)
        headers[f"x-ratelimit-reset-{what}"] = _duration(level.reset_s)
    return headers


def _duration(seconds: float) -> str:
    """A time as OpenAI writes it: 250ms, 1.5s, 6m0s, 23h5m0s."""
    if seconds < 1:
        return f"{math.ceil(1000 * seconds)}ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
