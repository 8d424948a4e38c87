"""What a check finds: problems, a line each, and notes of what was not checked."""

from __future__ import annotations

from dataclasses import dataclass, field

# Values are shown cut: a line is to be read.
_SHOWN = 80


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to mend.

    Attributes:
        file: The file that it is in, as it was named.
        object: Kind and name, e.g. `RayService/hydra-ray`; empty for a file as a whole.
        path: Where in the object, e.g. `spec.rayClusterConfig.rayVersion`; empty for the object as a whole.
        text: What is wrong, and the way out.
    """

    file: str
    object: str
    path: str
    text: str

    def __str__(self) -> str:
        parts = (self.file, self.object, self.path, self.text)
        return ": ".join(" ".join(part.split()) for part in parts if part)


@dataclass(slots=True)
class Report:
    """All that a check came to.

    Attributes:
        problems: What is to be mended.
        notes: What could not be checked, a line each.
        objects: How many objects were looked at.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    objects: int = 0


def shown(value: object) -> str:
    """Return a value as a message shows it: on one line and not too long."""
    text = " ".join(str(value).split()) if not isinstance(value, str) else f'"{" ".join(value.split())}"'
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."
