"""Files of the project that manifests are made of, wherever it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra_ray
from hydra_ray.records import HydraError
from hydra_ray.settings.files.yaml_file import YAMLFileError, parse_yaml, read_yaml

_PACKAGE = Path(hydra_ray.__file__).parent


def serve_config(name: str) -> dict[str, Any]:
    """Return a Serve config: one of `deployments/` by its name, or any file by its path.

    Raises:
        HydraError: There is no such config, or it is none.
    """
    known = {path.stem: path for path in _folder("deployments").glob("*.yaml")}
    path = known.get(name, Path(name))
    if path.suffix not in (".yaml", ".yml"):
        raise HydraError(f"serve_config: there is no {name!r}; there are {', '.join(sorted(known))}, or give a path")
    try:
        tree = read_yaml(path)
    except OSError as error:
        raise HydraError(f"serve_config: {path} cannot be read: {error.strerror}") from None
    except YAMLFileError as error:
        raise HydraError(f"serve_config: {path}: {error}") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("applications"), list):
        raise HydraError(f"serve_config: {path} has no applications: it is no Serve config")
    return tree


def search_files(name: str) -> Mapping[str, str]:
    """Return the texts of a search of `tune_configs/` and of the files that it names, by file name.

    Raises:
        HydraError: There is no such search.
    """
    folder = _folder("tune_configs")
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.yaml")))
        raise HydraError(f"jobs.search: there is no {name!r}; there are {known}")
    found = {"search.yaml": path.read_text(encoding="utf-8")}
    cohorts = parse_yaml(found["search.yaml"]).get("cohorts")
    if isinstance(cohorts, str):
        found[cohorts] = (folder / cohorts).read_text(encoding="utf-8")
    return found


def dashboard() -> str:
    """Return Grafana's dashboard, as JSON."""
    return (_PACKAGE / "k8s" / "monitoring" / "dashboard.json").read_text(encoding="utf-8")


def alerts() -> dict[str, Any]:
    """Return the rule of alerts, as Prometheus' operator takes it."""
    rule: dict[str, Any] = read_yaml(_PACKAGE / "k8s" / "monitoring" / "alerts.yaml")
    return rule


def _folder(name: str) -> Path:
    """A folder beside the package in a checkout, and inside of it in a wheel."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
