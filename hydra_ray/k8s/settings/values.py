"""Values that Kubernetes refuses unless they have a certain form."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field


def _network(value: str) -> str:
    if "/" not in value:
        raise ValueError("addresses are told as a CIDR, e.g. 192.0.2.0/24")
    ip_network(value)
    return value


def _address(value: str) -> str:
    parts = address_parts(value)
    if parts is None:
        raise ValueError("is host:port, or a URL like rediss://host:port")
    return value


def address_parts(address: str) -> tuple[str, int] | None:
    """Return host and port of an address with or without a scheme; None where one is missing."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        return (parts.hostname, parts.port) if parts.hostname and parts.port else None
    except ValueError:
        return None


# KubeRay adds to the names of a RayService and of a RayJob, and Kubernetes takes 63 letters.
Name = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=30)]
Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
ObjectName = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253)
]
SecretKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
CIDR = Annotated[str, AfterValidator(_network)]
Address = Annotated[str, AfterValidator(_address)]
