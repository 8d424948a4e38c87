"""What is measured of a completion that was served, and whether more of it is better."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a completion; an arm's figure is its mean over the completions that have it.

    Attributes:
        name: Name by which tables and JSON know it.
        is_share: Whether it is 0 or 1, so that its mean is a share.
        higher_is_better: Whether more of it is better; None where that is not for us to say.
        about: What it is, in a few words.
    """

    name: str
    is_share: bool
    higher_is_better: bool | None
    about: str


# Who says nothing of an answer counts as not having taken it: an arm that makes people silent must not win by it.
MEASURES = (
    Measure("accepted", True, True, "answers that the user took as they are, of all answers"),
    Measure("edited", True, None, "answers that the user changed, of all answers"),
    Measure("rejected", True, False, "answers that the user would not have, of all answers"),
    Measure("rated", True, None, "answers that the user said anything of, of all answers"),
    Measure("accepted_of_rated", True, True, "answers that the user took, of those accepted, edited or rejected"),
    Measure("edit_distance", False, False, "words changed in an edited answer, as a share of the longer text"),
    Measure("rating", False, True, "what users rated answers with, from -1 to 1"),
    Measure("tokens", False, False, "tokens of all that the LLM read and wrote for an answer"),
    Measure("seconds", False, False, "seconds from request to answer"),
    Measure("cost", False, False, "price of an answer's tokens"),
    Measure("passed_gate", True, None, "answers that are hydra's own choice, of those that a gate was asked about"),
)
