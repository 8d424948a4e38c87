"""One place says which version this is, and CHANGELOG.md has what a release of it is told by."""

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest
from code_blocks import ROOT

import hydra_ray

SCRIPT = ROOT / ".ci" / "release_notes.py"
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release_notes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_package_says_the_version_and_nothing_else_does(release):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "hydra_ray/__init__.py"
    assert release.version() == hydra_ray.__version__


def test_every_section_of_the_changelog_can_be_cut_out(release):
    headings = re.findall(r"^## .*$", CHANGELOG, re.MULTILINE)
    assert [heading for heading in headings if not release.HEADING.fullmatch(heading)] == []
    found = [(match["version"], match["when"]) for match in release.HEADING.finditer(CHANGELOG)]
    assert found[0][0] == hydra_ray.__version__, "what is worked on stands first"
    numbers = [tuple(map(int, version.split("."))) for version, _ in found]
    assert numbers == sorted(set(numbers), reverse=True)
    # Once released, a section is closed: what comes next has a section of its own.
    assert [when for _, when in found[1:] if when == "unreleased"] == []


DATED = """# Changes

## 0.2.0 (unreleased)

- New.

## 0.1.1 (2026-03-01)

- Mended.
- Too.

## 0.1.0 (2026-02-01)

- First.
"""


def test_notes_are_the_section_of_the_version(release):
    assert release.notes(DATED, "0.1.1") == "- Mended.\n- Too.\n"
    assert release.notes(DATED, "0.1.0") == "- First.\n"


@pytest.mark.parametrize(("version", "said"), [("0.2.0", "is unreleased"), ("0.3.0", "there is no section '## 0.3.0")])
def test_there_are_no_notes_of_what_is_not_released(release, version, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        release.notes(DATED, version)


def test_the_script_tells_the_version_and_why_there_are_no_notes():
    told = subprocess.run([sys.executable, str(SCRIPT), "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == hydra_ray.__version__
    refused = subprocess.run([sys.executable, str(SCRIPT), "9.9.9"], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: CHANGELOG.md: there is no section")
