"""Prints what CHANGELOG.md says of a version, for its release: `release_notes.py 0.1.0`; the version with --version.

Runs on the standard library alone, in a checkout that has nothing installed.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADING = re.compile(r"^## (?P<version>\d+\.\d+\.\d+) \((?P<when>unreleased|\d{4}-\d{2}-\d{2})\)$", re.MULTILINE)


def version() -> str:
    """Return the version of this checkout, from the one place that says it."""
    text = (ROOT / "hydra_ray" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)[1]


def notes(changelog: str, wanted: str) -> str:
    """Return the section of a version, without its heading.

    Args:
        changelog: Text of CHANGELOG.md.
        wanted: The version.

    Raises:
        ValueError: It has no section, or none with a date.
    """
    headings = list(HEADING.finditer(changelog))
    ends = [heading.start() for heading in headings[1:]] + [len(changelog)]
    for heading, end in zip(headings, ends, strict=True):
        if heading["version"] == wanted:
            if heading["when"] == "unreleased":
                raise ValueError(f"CHANGELOG.md: {wanted} is unreleased; a release has its date there, as YYYY-MM-DD")
            return changelog[heading.end() : end].strip() + "\n"
    raise ValueError(f"CHANGELOG.md: there is no section '## {wanted} (YYYY-MM-DD)'")


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print(version())
    elif len(sys.argv) == 2:
        try:
            print(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), sys.argv[1]), end="")
        except ValueError as error:
            sys.exit(f"error: {error}")
    else:
        sys.exit(__doc__)
