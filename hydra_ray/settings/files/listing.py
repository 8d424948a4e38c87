"""All settings with their defaults, as a table."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from rich.markup import escape
from rich.table import Table

from hydra_ray.settings.files.read import SettingsError
from hydra_ray.settings.tree import Settings


def settings_table(below: str = "") -> Table:
    """Path, default and meaning of every setting.

    Args:
        below: Only this setting, or those of this section, e.g. "method" or "base.encoder"; "" is all.

    Raises:
        SettingsError: There is no such setting or section.
    """
    return table_of(Settings(), below)


def table_of(section: BaseModel, below: str = "") -> Table:
    """Path, value and meaning of every setting of a section.

    Args:
        section: The section.
        below: Only this setting, or those of this section of it; "" is all.

    Raises:
        SettingsError: There is no such setting or section.
    """
    table = Table("setting", "default", "what it is")
    for path, default, meaning in _settings(section):
        if not below or path == below or path.startswith(f"{below}."):
            table.add_row(path, escape(default), escape(meaning))
    if not table.rows:
        raise SettingsError(f"{below}: there is no such setting or section")
    return table


def _settings(section: BaseModel, parents: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{parents}{name}.")
        else:
            # As it would be written in YAML, near enough.
            default = section.model_dump_json(include={name}).partition(":")[2][:-1]
            yield f"{parents}{name}", default, field.description or ""
