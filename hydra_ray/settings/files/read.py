"""Reads settings from YAML, presets and `key=value` overrides; every error at once, with its path."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hydra_ray.records import HydraError
from hydra_ray.settings.files.renamed import AmbiguousSettingError, with_new_names
from hydra_ray.settings.files.yaml_file import YAMLFileError, parse_yaml, read_yaml
from hydra_ray.settings.tree import Settings

Shape = TypeVar("Shape", bound=BaseModel)


class SettingsError(HydraError):
    """A settings file or override that cannot be used."""


def load_settings(path: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Reads a settings file and applies `key=value` overrides, e.g. `data.split=dev`.

    Raises:
        SettingsError: Names every wrong key and value with its path.
    """
    tree = read_tree(path) if path is not None else {}
    for override in overrides:
        apply_override(tree, override)
    return parse_settings(tree, str(path) if path else "settings")


def parse_settings(tree: dict[str, Any], source: str = "settings") -> Settings:
    """Checks a tree of plain values.

    Raises:
        SettingsError: Names every wrong key and value with its path.
    """
    if tree.get("preset") and isinstance(tree["preset"], str):
        tree = over(_preset(tree["preset"]), tree)
    try:
        tree = with_new_names(tree, source)
    except AmbiguousSettingError as error:
        raise SettingsError(f"{source}: {error}") from None
    return checked(Settings, tree, source)


def checked(shape: type[Shape], tree: dict[str, Any], source: str) -> Shape:
    """Return a tree of plain values as a model of settings.

    Raises:
        SettingsError: Names every wrong key and value with its path.
    """
    try:
        return shape.model_validate(tree)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc'])) or '(top)'}: {_reason(e)}" for e in error.errors()]
        raise SettingsError(f"{source}: {len(lines)} setting(s) to mend:\n" + "\n".join(lines)) from None


def _preset(name: str) -> dict[str, Any]:
    folder = files("hydra_ray") / "presets"
    known = sorted(Path(one.name).stem for one in folder.iterdir())
    if name not in known:
        raise SettingsError(f"preset: there is no {name!r}; there are {', '.join(known)}")
    tree: dict[str, Any] = parse_yaml((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    below = tree.pop("preset", None)
    return over(_preset(below), tree) if below else tree


def over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return both trees in one; where both say something, what is above counts."""
    merged = {**below, **above}
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merged[key] = over(below[key], value)
    return merged


def _reason(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "no such setting (a typo?)"
    return f"{error['msg']} (got {error['input']!r})" if not isinstance(error["input"], dict) else error["msg"]


def read_tree(path: Path) -> dict[str, Any]:
    """Return the plain values of a settings file.

    Raises:
        SettingsError: The file cannot be read, or holds no sections.
    """
    try:
        tree = read_yaml(path) or {}
    except OSError as error:
        raise SettingsError(f"{path}: the settings file cannot be read: {error.strerror}") from None
    except YAMLFileError as error:
        raise SettingsError(f"{path}: {error}") from None
    if not isinstance(tree, dict):
        raise SettingsError(f"{path}: settings are a mapping of sections, not a {type(tree).__name__}")
    # A section whose lines are all commented out means its defaults.
    return {key: value for key, value in tree.items() if value is not None}


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Write one `key=value` into a tree of plain values.

    Raises:
        SettingsError: It is no such pair, or its key goes through a value.
    """
    key, found, value = override.partition("=")
    if not found or not key:
        raise SettingsError(f'override "{override}": write it as key=value, e.g. data.split=dev')
    *sections, last = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise SettingsError(f'override "{override}": "{section}" holds a value, not a section')
    try:
        tree[last] = parse_yaml(value)
    except YAMLFileError as error:
        raise SettingsError(f'override "{override}": the value is {error}') from None
