"""The locks, and the commands of `make lock` that write them."""

import itertools
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from code_blocks import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@dataclass(frozen=True)
class Lock:
    """One file that `make lock` writes.

    Attributes:
        path: The lock.
        sources: What it is made of: pyproject.toml, or lists of requirements.
        extras: Extras of pyproject.toml that it has.
        command: What writes it, without the wish for newer versions.
    """

    path: Path
    sources: tuple[str, ...]
    extras: tuple[str, ...]
    command: tuple[str, ...]

    @property
    def versions(self) -> dict[str, str]:
        """Locked version of each package."""
        found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", self.path.read_text(encoding="utf-8"), re.MULTILINE)
        return {canonicalize_name(name): version for name, version in found}


def made_locks() -> list[Lock]:
    """All locks, as `make lock` says without being carried out."""
    said = subprocess.run(["make", "-n", "lock"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    locks = []
    for line in said.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        if words[1:3] != ["pip", "compile"]:
            continue
        path = words[words.index("--output-file") + 1]
        extras = tuple(after for word, after in itertools.pairwise(words) if word == "--extra")
        sources = tuple(words[words.index("--output-file") + 2 :])
        command = tuple(word for word in words if word != "--upgrade")
        locks.append(Lock(ROOT / path, sources, extras, command))
    return locks


def wanted(lock: Lock) -> Iterator[Requirement]:
    """Requirements that a lock has to satisfy: of the project and its extras, or of lists."""
    if lock.sources != ("pyproject.toml",):
        for source in lock.sources:
            lines = (ROOT / source).read_text(encoding="utf-8").splitlines()
            yield from (Requirement(line) for line in lines if line.strip() and not line.startswith("#"))
        return
    yield from map(Requirement, PROJECT["dependencies"])
    asked = list(lock.extras)
    while asked:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][asked.pop()]):
            if requirement.name == PROJECT["name"]:
                asked += requirement.extras
            else:
                yield requirement
