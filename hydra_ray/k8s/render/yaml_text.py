"""Manifests as YAML that people read: keys in our order, texts of many lines as such, no anchors."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(thing: Any) -> str:
    """Return one document."""
    return yaml.dump(thing, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def to_file(header: Sequence[str], things: Sequence[Any]) -> str:
    """Return a file of documents below a comment of some paragraphs."""
    lines = [line for paragraph in header for line in textwrap.wrap(paragraph, 116, break_on_hyphens=False)]
    return "".join(f"# {line}\n" for line in lines) + "---\n".join(to_yaml(thing) for thing in things)
