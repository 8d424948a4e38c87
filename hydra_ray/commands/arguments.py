"""Arguments that all commands take: a settings file, and single settings that go over it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_ray.logs import set_up_logging
from hydra_ray.settings import Settings, load_settings

SettingsFile = Annotated[Path, typer.Argument(help="Settings in YAML.", metavar="SETTINGS.yaml")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Single settings, e.g. out=runs/mine.", metavar="KEY=VALUE")
]


def load(path: Path, overrides: list[str] | None) -> Settings:
    """Read the settings of a command, and have logs go where they say.

    Args:
        path: Settings file.
        overrides: Single settings that go over those of the file, as `key=value`; None for none.

    Raises:
        SettingsError: Names every wrong key and value with its path.
    """
    settings = load_settings(path, overrides or [])
    set_up_logging(settings.logging)
    return settings
