"""Names and labels as Kubernetes' validation takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.problems import Problem, shown
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping

_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_DNS_1123.pattern}(\.{_DNS_1123.pattern})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL, _DOMAIN = 63, 253
# Their names may have anything that a path may have.
_FREE = {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}


def check_metadata(thing: Thing) -> Iterator[Problem]:
    """Yield what the API server refuses in an object's name and labels. KubeRay's kinds have rules of their own."""
    name = dig(thing.tree, "metadata", "name")
    if name is None:
        if dig(thing.tree, "metadata", "generateName") is None:
            yield thing.problem("metadata.name", "it is missing")
    elif thing.kind == "Service" and not is_dns_1035(thing.name):
        yield thing.problem("metadata.name", f"{shown(name)} is no name of a Service: small letters, digits and -")
    elif not is_subdomain(thing.name) and thing.kind not in _FREE:
        yield thing.problem("metadata.name", f"{shown(name)} is no name: small letters, digits, - and . between them")
    for key, said in label_problems(mapping(dig(thing.tree, "metadata", "labels"))):
        yield thing.problem(f'metadata.labels["{key}"]', said)


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
