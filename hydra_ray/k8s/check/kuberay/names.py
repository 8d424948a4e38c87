"""Names and labels as Kubernetes' validation takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_DNS_1123.pattern}(\.{_DNS_1123.pattern})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL, _DOMAIN = 63, 253


def is_dns_1035(name: str) -> bool:
    """Return whether the name is a DNS-1035 label, as names of Services are: it begins with a letter."""
    return len(name) <= _LABEL and _DNS_1035.fullmatch(name) is not None


def is_dns_1123(name: str) -> bool:
    """Return whether the name is a DNS-1123 label."""
    return len(name) <= _LABEL and _DNS_1123.fullmatch(name) is not None


def is_subdomain(name: str) -> bool:
    """Return whether the name is a DNS-1123 subdomain, as those of most objects are."""
    return len(name) <= _DOMAIN and _SUBDOMAIN.fullmatch(name) is not None


def label_problems(labels: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each label whose key or value is none, with what is wrong."""
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        if (slash and not is_subdomain(prefix)) or len(name) > _LABEL or not _QUALIFIED.fullmatch(name):
            yield key, "it is no key of a label: letters, digits and -_. in it, perhaps a domain and / before it"
        if isinstance(value, str) and value and (len(value) > _LABEL or not _QUALIFIED.fullmatch(value)):
            yield key, "its value is none of a label: at most 63 letters, digits and -_. in it"
