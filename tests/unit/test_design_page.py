"""docs/design.md and docs/extending.md name the packages and files as they are, and leave none out."""

import re
from pathlib import Path

import pytest
from code_blocks import ROOT

CODE = ROOT / "hydra_ray"
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
# In the sections that draw the packages; what follows them is about the model.
MAP = DESIGN.partition("## The model")[0]
FILES = re.compile(r"^\| `([\w/]+\.py)` \|", re.MULTILINE)
PATHS = re.compile(r"`((?:\w+/)+(?:\w+\.py)?)`")


def modules(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.py") if path.name != "__init__.py"}


@pytest.mark.parametrize("package", ["serve", "experiment", "evaluate", "learn", "runtime", "steps", "data"])
def test_every_file_of_a_package_has_its_line_and_no_other_has(package):
    _, _, section = MAP.partition(f"### `{package}/`\n")
    listed = FILES.findall(re.split(r"^### ", section, maxsplit=1, flags=re.MULTILINE)[0])
    assert len(listed) == len(set(listed))
    assert set(listed) == modules(CODE / package)


def test_every_package_has_its_line():
    table = MAP.partition("## The way of a request")[0]
    there = {path.name for path in CODE.iterdir() if (path / "__init__.py").exists()}
    alone = {path.name for path in CODE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert set(re.findall(r"^\| `(\w+)/`", table, re.MULTILINE)) == there
    assert alone <= set(re.findall(r"`(\w+\.py)`", table))


@pytest.mark.parametrize("page", ["docs/design.md", "docs/extending.md", "CONTRIBUTING.md"])
def test_paths_that_a_page_names_are_there(page):
    text = MAP if page == "docs/design.md" else (ROOT / page).read_text(encoding="utf-8")
    # Files of a contributor's own are named from the project's root on, or with a number to fill in.
    own = {path for path in PATHS.findall(text) if path.startswith("hydra_ray/") or "NNNN" in path}
    named = set(PATHS.findall(text)) - own - set(FILES.findall(text))
    assert named
    assert {path for path in named if not (CODE / path).exists() and not (ROOT / path).exists()} == set()
    assert [path for path in own if not (ROOT / path).parent.exists() and not (CODE / path).parent.exists()] == []
