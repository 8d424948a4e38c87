"""Settings that got other names or sections: the old ones still work, and fingerprints do not change with a name."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)

# By path, as each was first called. Both paths are in the same section.
RENAMED = {
    "feedback.askers": "feedback.labelers",
    "method.evidence": "method.history_answers",
    "profile.prompts.told": "profile.prompts.telling",
}
FIRST_NAMES = {new: old for old, new in RENAMED.items()}
# What went to another section. No fingerprint is made of these.
MOVED = {"model.store": "store.url"}


class AmbiguousSettingError(ValueError):
    """A setting is given under its old path and under its new one; the message names both."""


def with_new_names(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """Return a settings tree with today's names; each old name is logged as a warning.

    Args:
        tree: Plain values, as in a settings file.
        source: Where they come from, for the warning.

    Raises:
        AmbiguousSettingError: A setting that went to another section is given in both.
    """
    for old, new in RENAMED.items():
        tree, found = _renamed(tree, old.split("."), new.rpartition(".")[2])
        if found:
            log.warning("%s: %s is called %s now; the old name still works", source, old, new)
    for old, new in MOVED.items():
        tree, found = _moved(tree, old, new)
        if found:
            log.warning("%s: %s is called %s now; the old name still works", source, old, new)
    return tree


def with_first_names(dumped: dict[str, Any]) -> dict[str, Any]:
    """Return dumped settings under the names that each had first, for fingerprints of what is kept on disk."""
    for new, old in FIRST_NAMES.items():
        dumped, _ = _renamed(dumped, new.split("."), old.rpartition(".")[2])
    return dumped


def _renamed(tree: dict[str, Any], path: list[str], name: str) -> tuple[dict[str, Any], bool]:
    """Return the tree with the key at a path renamed, in its place, and whether it was there."""
    key, *below = path
    if not isinstance(tree, dict) or key not in tree:
        return tree, False
    if below:
        value, found = _renamed(tree[key], below, name)
        return ({**tree, key: value} if found else tree), found
    if name in tree:
        # Which of both counts is the user's to say: the old one is then refused like any unknown name.
        return tree, False
    return {name if one == key else one: value for one, value in tree.items()}, True


def _moved(tree: dict[str, Any], old: str, new: str) -> tuple[dict[str, Any], bool]:
    """Return the tree with a setting of one section in another one, and whether it was there."""
    (section, name), (target, target_name) = old.split("."), new.split(".")
    had, has = tree.get(section), tree.get(target)
    if not isinstance(had, dict) or name not in had or not isinstance(has, dict | None):
        # What is no section is for the check of settings to say.
        return tree, False
    if target_name in (has or {}):
        raise AmbiguousSettingError(f"{old} and {new} are the same setting: take out {old}, which is its old name")
    left = {key: value for key, value in had.items() if key != name}
    return {**tree, section: left, target: {**(has or {}), target_name: had[name]}}, True
