"""Decides who a request is from: once, before anything is done for it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from hydra_ray.records import UserKey
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.store.identity.keys import SCOPES

# What says that a request came through somebody else, who may not be on this machine.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Principal:
    """Caller of a request, and the user whom the request is for.

    Attributes:
        tenant: Tenant of the caller; the only one whose users the request may be for.
        key: Id of the API key that was presented and accepted; None where nobody is asked for a key.
        user: User whom the request is for; None for nobody.
        scopes: What the caller may do.
    """

    tenant: str
    key: str | None
    user: UserKey | None
    scopes: frozenset[str]

    @property
    def user_id(self) -> str | None:
        """Id by which the caller knows the user; None for nobody."""
        return None if self.user is None else self.user.user

    @property
    def actor(self) -> str:
        """The caller in the words of the audit log."""
        return self.key or "nobody"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request is from, before it is known whom it is for.

    Attributes:
        tenant: Tenant of the caller.
        key: Id of the API key that was presented and accepted; None where nobody is asked for a key.
        scopes: What the caller may do.
        user: The one user whom the caller may act for; None for every user of the tenant.
    """

    tenant: str
    key: str | None
    scopes: frozenset[str]
    user: str | None

    def acting_for(self, user: str | None) -> Principal:
        """Return the principal of a request for a user.

        Args:
            user: Id of the user whom the request names, by `serve.user_from` or in its path; None where it names
                nobody. It is then for the caller's one user, if there is one.

        Raises:
            RequestError: The caller may not act for this user (403).
        """
        if self.user is not None and user not in (None, self.user):
            raise RequestError("this key is another user's: it acts for nobody else", "user", "forbidden", 403)
        who = self.user if user is None else user
        return Principal(self.tenant, self.key, None if who is None else UserKey(self.tenant, who), self.scopes)


class Authenticate(Protocol):
    """Decides who a request is from. The guard asks it once for every route but the open ones; nothing else decides."""

    async def __call__(self, headers: Headers, peer: str | None) -> Caller:
        """Return who a request is from.

        Args:
            headers: HTTP headers of the request, where a key would be.
            peer: Address from which the connection came; None where that is not known.

        Raises:
            RequestError: The caller is not known (status 401), or nothing is done for them (status 403).
        """


@dataclass(frozen=True, slots=True)
class TrustThisMachine:
    """Wants no key of who asks from this machine, and refuses everybody else.

    Callers belong to one tenant and may do everything. Serve's proxy hands the peer's address on as its server,
    uvicorn, knows it: where the connection is from this machine and has X-Forwarded-For, that is what the header says.

    Attributes:
        tenant: Tenant of the deployment.
    """

    tenant: str

    async def __call__(self, headers: Headers, peer: str | None) -> Caller:
        """Return a caller without a key.

        Raises:
            RequestError: The request is from elsewhere, came through a proxy, or is meant for another host (403).
        """
        if not is_loopback(peer) or any(name in headers for name in _FORWARDED):
            raise RequestError(
                "without API keys (auth.mode: off) only this machine is answered, and nothing that a proxy hands on",
                code="loopback_only",
                status=403,
            )
        if not is_loopback(_host(headers)):
            # A browser here that was led to this port by a name of somebody else's, whose pages could read the answers.
            raise RequestError(
                "without API keys (auth.mode: off) requests go to localhost or a loopback address, not to "
                f"{headers['host']!r}",
                code="loopback_only",
                status=403,
            )
        return Caller(self.tenant, None, frozenset(SCOPES), None)


def _host(headers: Headers) -> str | None:
    """Return the host that a request names; what names none is no browser's, and for this machine."""
    if "host" not in headers:
        return "localhost"
    try:
        return urlsplit(f"//{headers['host']}").hostname
    except ValueError:
        return None


def is_loopback(host: str | None) -> bool:
    """Whether an address, or a name to listen on, is of this machine alone."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return host == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
