"""What is kept of each chat completion, and what users said of it later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hydra_ray.records import Source, Usage, UserKey

# What a user can say that became of an answer.
Reaction = Literal["accepted", "rejected", "edited", "regenerated"]
# Why the LLM answered a request as it was: no method can answer its form, or that is the method that answers.
PassedFor = Literal["form", "method"]


@dataclass(frozen=True, slots=True)
class Offer:
    """One of the texts that competed for a completion.

    Attributes:
        text: The text.
        votes: Number of the LLM's samples that gave it.
        score: Score that the candidates were ranked by.
        sources: Prompts that gave it, of a completion whose candidates come from several; else empty.
    """

    text: str
    votes: int
    score: float
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """What was said of a completion; a later statement takes its place.

    Attributes:
        reaction: What became of the answer; None where it was only rated.
        rating: -1 or 1, or 1 to 5 stars, as it was given; None where there was none.
        edited: Text that the user made of the answer; None where they made none.
        chosen: Place among the candidates of the one that it is about; None is the one that was answered.
    """

    reaction: Reaction | None = None
    rating: int | None = None
    edited: str | None = None
    chosen: int | None = None


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """What the gate decided about a completion; which text that was, the place of the answered one says.

    Attributes:
        answered: "hydra" where hydra's choice was given, or else the name of the plain answer that was.
        gain: Score that hydra's choice could be expected to gain over the plain answer.
        low: Lower bound of that gain.
    """

    answered: str
    gain: float
    low: float


@dataclass(frozen=True, slots=True)
class Completion:
    """One chat completion as the log keeps it.

    Attributes:
        id: Id of the completion, as its answer has it.
        request_id: Id of the request; empty where none was made.
        tenant: Tenant of the caller.
        user: User whom the answer was for; None for nobody, and for who is not personalised. No texts of these are
            kept.
        created_s: Seconds since 1970 at which the request came.
        version: Version of the base that judged.
        method: Method that answered.
        arm: Arm of an experiment; None where there was none.
        propensity: Probability with which the arm was chosen, 0 to 1.
        head: Head that the candidates were scored under, as `Answer.head` says.
        input: The query; None where no texts are kept, "" where what was asked is more than the user's text.
        history: Ids of the user's items whose answers were read, most relevant first.
        candidates: Texts that competed, best first; of what was passed through the choices in their order, "" for one
            without text. Empty where no texts are kept.
        answered: Place among the candidates of the one that was answered.
        degraded: Names of what was done without.
        usage: Calls and tokens that the LLM took.
        seconds: Seconds from the request to the whole answer.
        streamed: Whether the answer was streamed.
        statement: What was said of it; None where nothing was.
        said_s: Seconds since 1970 of what was said; None where nothing was.
        learnt: Whether what was said has reached the user's feedback events.
        passed_for: Why the LLM answered the request as it was; None where a method answered it.
        gate: What the gate decided; None where none was asked.
    """

    id: str
    request_id: str
    tenant: str
    user: str | None
    created_s: float
    version: str
    method: str
    arm: str | None
    propensity: float
    head: str
    input: str | None
    history: tuple[str, ...]
    candidates: tuple[Offer, ...]
    answered: int
    degraded: tuple[str, ...]
    usage: Usage
    seconds: float
    streamed: bool
    statement: Statement | None = None
    said_s: float | None = None
    learnt: bool = False
    passed_for: PassedFor | None = None
    gate: GateOutcome | None = None

    @property
    def key(self) -> UserKey | None:
        """Key of the user; None for nobody."""
        return None if self.user is None else UserKey(self.tenant, self.user)
