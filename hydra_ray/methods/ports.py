"""The ports that a method is made of. `evaluate/` plugs local steps into them, `serve/` deployment handles."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from hydra_ray.records import Answer, Candidate, ChatRequest, Choice, Generation, HydraError, Query, Ranked, UserKey
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.sources import PromptShare, mix_of_texts
from hydra_ray.tasks import Task


class StepError(HydraError):
    """A step that a method can do without gave no answer."""


@dataclass(frozen=True, slots=True)
class ProfileText:
    """A profile for the prompt.

    Attributes:
        text: Text of the profile; "" where there is nothing to say.
        degraded: Whether it lacks what makes its kind, as dpl's does where there are no peers to compare with.
    """

    text: str = ""
    degraded: bool = False


class Retrieve(Protocol):
    """Finds history of the query's user."""

    async def __call__(self, query: Query, k: int, by: str) -> list[Ranked]:
        """Return at most k items, best first; `by` names the retriever.

        Raises:
            StepError: Retrieval failed; the method goes on without history.
        """
        ...


class Rerank(Protocol):
    """Orders history by how much it helps the LLM."""

    async def __call__(self, query: Query, ranked: Sequence[Ranked], head: UserKey | None) -> list[Ranked]:
        """Return the same items, most useful first, under the head of `head`; None is the shared head.

        Raises:
            StepError: Reranking failed; the method keeps the retriever's order.
        """
        ...


class Generate(Protocol):
    """Asks the LLM."""

    async def __call__(self, request: ChatRequest) -> Generation:
        """Sample answers.

        Raises:
            GenerateError: There is no answer, and no method can do without one.
        """
        ...


class GenerateAll(Protocol):
    """Asks the LLM several requests at once."""

    async def __call__(self, requests: Sequence[ChatRequest]) -> list[Generation | GenerateError]:
        """Return for each request its answers, or the error that it ended with.

        Raises:
            GenerateError: None of them has an answer, for one reason.
        """
        ...


class Adapt(Protocol):
    """Orders candidates by what a user prefers."""

    async def __call__(
        self, query: Query, candidates: Sequence[Candidate], history_answers: Sequence[str], head: UserKey | None
    ) -> Choice:
        """Return the same candidates, best first, under the head of `head`; None is the shared head.

        Raises:
            StepError: Adapting failed; the method answers with the candidate that the LLM gave most often.
        """
        ...


class Peers(Protocol):
    """Finds history of people like the query's user."""

    async def __call__(self, query: Query, k: int) -> list[Ranked]:
        """Return at most k items of the nearest other users of the tenant, best first; none unless the tenant opted in.

        Raises:
            StepError: Peers cannot be had; the method goes on with the user's own history.
        """
        ...


class Profile(Protocol):
    """Finds the profile that an LLM wrote of the query's user."""

    async def __call__(self, query: Query, kind: str) -> ProfileText:
        """Return the profile of one kind, e.g. pag or dpl.

        Raises:
            StepError: The profile cannot be had; the method goes on without one.
        """
        ...


class BeforeAdapt(Protocol):
    """Hears of a query before its candidates are there."""

    def __call__(self, query: Query) -> AbstractAsyncContextManager[None]:
        """Return a context to answer the query in, whose candidates `Adapt` will most likely be asked to order.

        What that needs of the query alone may be made meanwhile. It fails nobody, and ends with the context.
        """
        ...


async def _no_peers(query: Query, k: int) -> list[Ranked]:
    raise StepError("nobody plugged the port of peers")


async def _no_profile(query: Query, kind: str) -> ProfileText:
    raise StepError("nobody plugged the port of profiles")


def _nothing_made(query: Query) -> AbstractAsyncContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Ports:
    """The steps as a method calls them. Methods of the papers' core need the first four only.

    `rerank` and `adapt` need a trained base: they are there for methods whose class says `needs_base`.

    Attributes:
        before_adapt: Is told of queries whose encoding no reranker makes; by default nothing is made before `adapt`.
        generate_all: Asks the LLM several requests of one prompt at once; None asks each by `generate`.
        say: Asks the LLM for the one answer that the user gets word for word, so that who listens may hear it while it
            is made; None asks by `generate`. Methods ask by `sampling.sampled`, which knows when.
        asks_again: Whether a query that failed for now is asked again later. Then nothing is done without that may
            still come: a failure must not become a result.
    """

    retrieve: Retrieve
    rerank: Rerank
    generate: Generate
    adapt: Adapt
    peers: Peers = _no_peers
    profile: Profile = _no_profile
    before_adapt: BeforeAdapt = _nothing_made
    generate_all: GenerateAll | None = None
    say: Generate | None = None
    asks_again: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of a method; `settings.MethodSettings` explains each.

    Attributes:
        rerank: Whether there is a reranker (`method.rerank`).
        mix: Prompts that hydra's candidates come from (`method.prompts`); empty where they come from one, None where
            the task decides.
    """

    rerank: bool
    retriever: str
    stemmer: str | None
    retrieve: int
    shots: int
    candidates: int
    temperature: float
    greedy: bool
    mix: tuple[PromptShare, ...] | None
    expected: bool
    history_answers: int
    allowed_answers: int
    vote_weight: float | None
    rank_weight: float | None
    profile: str
    profile_template: str
    seed: int

    @property
    def mix_of_texts(self) -> tuple[PromptShare, ...]:
        """The mix of tasks whose answers are texts; empty where candidates come from one prompt."""
        if self.mix is not None:
            return self.mix
        # What is said of the one prompt would be of a third of them.
        return () if self.rerank or self.profile else mix_of_texts(self.retriever, self.candidates, self.greedy)

    def mix_of(self, task: Task) -> tuple[PromptShare, ...]:
        """Return the prompts that a task's candidates come from; none where they come from one."""
        return self.mix_of_texts if task.free else self.mix or ()

    def shares(self, task: Task) -> tuple[PromptShare, ...]:
        """Return the prompts of a task's mix, or else the one prompt, with how many candidates each gives."""
        return self.mix_of(task) or self.one_share

    @property
    def one_share(self) -> tuple[PromptShare]:
        """All candidates as those of one prompt."""
        return (PromptShare("", self.candidates, self.greedy),)


class Method(Protocol):
    """A whole personalisation method.

    Its class says `needs_base: ClassVar[bool] = True` where it reranks or adapts; without, it only prompts.
    """

    def __call__(self, query: Query, head: UserKey | None) -> Coroutine[Any, Any, Answer]:
        """Answer one query under the head of `head`, which is the query's own user but for controls.

        Raises:
            GenerateError: The LLM gave no answer.
            StepError: Another step failed, and the method does not go on without it.
        """
        ...
