"""Decides who a request is from: once, before anything is done for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import Headers

from hydra_ray.records import UserKey


@dataclass(frozen=True, slots=True)
class Principal:
    """Caller of a request, and the user whom the request is for.

    Attributes:
        tenant: Tenant of the caller; the only one whose users the request may be for.
        key: Id of the API key that was presented and accepted; None where nobody is asked for a key.
        user: User whom the request is for; None for nobody.
    """

    tenant: str
    key: str | None
    user: UserKey | None

    @property
    def user_id(self) -> str | None:
        """Id by which the caller knows the user; None for nobody."""
        return None if self.user is None else self.user.user


class Authenticate(Protocol):
    """Decides who a request is from. Every route but `/healthz` asks it once, and nothing else decides."""

    async def __call__(self, headers: Headers, user: str | None) -> Principal:
        """Return the principal of a request.

        Args:
            headers: HTTP headers of the request, where a key would be.
            user: Id of the user whom the request names, by `serve.user_from` or in its path; None where it names
                nobody. The principal is for this user or, where it is None, for nobody.

        Raises:
            RequestError: The caller is not known (status 401), or may not act for this user (status 403).
        """


@dataclass(frozen=True, slots=True)
class TrustEveryone:
    """Authenticates nobody: every caller belongs to one tenant and may act for every user of it.

    Attributes:
        tenant: Tenant of the deployment.
    """

    tenant: str

    async def __call__(self, headers: Headers, user: str | None) -> Principal:
        """Return a principal without a key. No header is looked at."""
        return Principal(self.tenant, None, None if user is None else UserKey(self.tenant, user))
