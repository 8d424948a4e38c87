"""The glossary of CONTRIBUTING holds: words that meant several things are gone from the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "hydra_ray"
RETIRED = {
    "Asked", "Asker", "Askers", "Ask", "Told", "told", "Unit", "Teaching", "teaching", "Verdict", "Cell", "Dump",
    "Stack", "Board", "Fate", "Way", "Descended", "Outcome", "Group", "made_of", "digest_of", "asked_with",
    "and_by", "evidence", "EvidenceUpdate", "askers", "Questions", "marks",
}  # fmt: skip


def names_defined(tree: ast.AST) -> Iterator[str]:
    """Names that a module gives: of classes, functions, arguments, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.ClassDef(name=name)
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.arg(arg=name)
            ):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)):
                yield name
            case _:
                pass


def retired(path: Path) -> set[str]:
    return {name.strip("_") for name in names_defined(ast.parse(path.read_text(encoding="utf-8")))} & RETIRED


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_retired_word_names_anything(path):
    assert not retired(path), "these words meant several things: take one of the glossary in CONTRIBUTING"


def test_retired_words_are_found_wherever_they_name_something(tmp_path):
    (tmp_path / "bad.py").write_text("class Asker:\n    def _told(self, evidence):\n        self.made_of = evidence\n")
    assert retired(tmp_path / "bad.py") == {"Asker", "told", "evidence", "made_of"}


def test_a_word_of_the_glossary_has_one_row():
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition("## Words")[2].partition("## Facts")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")][2:]
    words = [word.strip() for row in rows for word in row.split(",")]
    assert "recipe" in words
    assert sorted({word for word in words if words.count(word) > 1}) == []
