"""Code that the docs show, taken out of the Markdown, so that tests run what readers copy."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def code_blocks(page: str, below: str = "", language: str = "python") -> list[str]:
    """Return the code blocks of a page in order.

    Args:
        page: Path from the project's root, e.g. "docs/methods.md".
        below: Heading of the section that is looked at, e.g. "## A method of your own", without its sub-sections'
            siblings; empty for the whole page.
        language: Language of the blocks, the word behind the opening fence.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    if below:
        _, found, rest = text.partition(f"\n{below}\n")
        assert found, f"{page} has no heading {below!r}"
        level = below.partition(" ")[0]
        text = re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return [code for of, code in _BLOCK.findall(text) if of == language]


def as_module(monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> ModuleType:
    """Return the code as the module that the docs have it written to; it is importable for as long as the test runs.

    Args:
        monkeypatch: Undoes it.
        name: Full name of the module, e.g. "hydra_ray.methods.newest".
        code: Source of the file.
    """
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, f"<{name}>", "exec"), module.__dict__)
    return module
