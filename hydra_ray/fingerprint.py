"""Fingerprints: what a thing was made from, as a short text that changes whenever the values behind it do.

Folders and stores hold fingerprints: what these functions return for given values must not change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

# Bytes, so twice as many characters.
SIZE = 12


def fingerprint(*values: Any, size: int = SIZE, sort_keys: bool = False) -> str:
    """Return the fingerprint of plain values, those that JSON has.

    Args:
        values: What the thing was made from.
        size: Bytes; the text has twice as many characters.
        sort_keys: Whether the order of a mapping's keys is left out.
    """
    return blake2b(json.dumps(values, sort_keys=sort_keys).encode(), digest_size=size).hexdigest()


def records_fingerprint(records: Iterable[Any], size: int = SIZE) -> str:
    """Return the fingerprint of records in their order; one after the other is read, however many there are.

    Args:
        records: Dataclasses, tuples and plain values all the way down, so that `repr` tells all of them apart.
        size: Bytes; the text has twice as many characters.
    """
    digest = blake2b(digest_size=size)
    for record in records:
        digest.update(repr(record).encode())
    return digest.hexdigest()
