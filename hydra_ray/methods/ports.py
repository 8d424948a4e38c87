"""What a method is made of: ports. `evaluate/` plugs local steps into them, `serve/` deployment handles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hydra_ray.records import Answer, Candidate, ChatRequest, Choice, Generation, HydraError, Query, Ranked, UserKey


class StepError(HydraError):
    """A step that a method can do without gave no answer."""


@dataclass(frozen=True, slots=True)
class ProfileText:
    """A profile as the prompt tells it.

    Attributes:
        text: "" where there is nothing to tell.
        degraded: Whether it was written without what makes its kind, as dpl's where there is nobody to compare with.
    """

    text: str = ""
    degraded: bool = False


class Retrieve(Protocol):
    """Finds history of the query's user."""

    async def __call__(self, query: Query, k: int, by: str) -> list[Ranked]:
        """At most k items, best first; `by` names the retriever.

        Raises:
            StepError: The method goes on without history.
        """
        ...


class Rerank(Protocol):
    """Orders history by how much it helps the LLM."""

    async def __call__(self, query: Query, ranked: Sequence[Ranked], head: UserKey | None) -> list[Ranked]:
        """The same items, most useful first, under the head of `head`; None is the shared head.

        Raises:
            StepError: The method keeps the retriever's order.
        """
        ...


class Generate(Protocol):
    """Asks the LLM."""

    async def __call__(self, request: ChatRequest) -> Generation:
        """Samples answers.

        Raises:
            GenerateError: There is no answer, and no method can do without one.
        """
        ...


class Adapt(Protocol):
    """Orders candidates by what a user prefers."""

    async def __call__(
        self, query: Query, candidates: Sequence[Candidate], history_answers: Sequence[str], head: UserKey | None
    ) -> Choice:
        """The same candidates, best first, under the head of `head`; None is the shared head.

        Raises:
            StepError: The method answers with the candidate that the LLM gave most often.
        """
        ...


class Peers(Protocol):
    """Finds history of people like the query's user."""

    async def __call__(self, query: Query, k: int) -> list[Ranked]:
        """At most k items of the nearest other users of the tenant, best first; none of a tenant that did not opt in.

        Raises:
            StepError: The method goes on with the user's own history.
        """
        ...


class Profile(Protocol):
    """What an LLM wrote of the query's user."""

    async def __call__(self, query: Query, kind: str) -> ProfileText:
        """The profile; `kind` names who writes it.

        Raises:
            StepError: The method goes on without.
        """
        ...


async def _no_peers(query: Query, k: int) -> list[Ranked]:
    raise StepError("nobody plugged the port of peers")


async def _no_profile(query: Query, kind: str) -> ProfileText:
    raise StepError("nobody plugged the port of profiles")


@dataclass(frozen=True, slots=True)
class Ports:
    """The steps as a method calls them. Methods of the papers' core need the first four only.

    `rerank` and `adapt` judge by a trained base: they are there for methods whose class says `needs_base`.
    """

    retrieve: Retrieve
    rerank: Rerank
    generate: Generate
    adapt: Adapt
    peers: Peers = _no_peers
    profile: Profile = _no_profile


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of a method; their meaning stands in `settings.MethodSettings`."""

    retriever: str
    stemmer: str | None
    retrieve: int
    shots: int
    candidates: int
    temperature: float
    greedy: bool
    expected: bool
    history_answers: int
    allowed_answers: int
    vote_weight: float | None
    rank_weight: float | None
    profile: str
    profile_template: str
    seed: int


class Method(Protocol):
    """A whole personalisation method.

    Its class says `needs_base: ClassVar[bool] = True` where it reranks or adapts; without, it only prompts.
    """

    async def __call__(self, query: Query, head: UserKey | None) -> Answer:
        """Answers one query under the head of `head`, which is the query's own user but for controls.

        Raises:
            GenerateError: The LLM gave no answer.
            StepError: Another step did not, and the method does not go on without.
        """
        ...
