"""The port of every generator: OpenAI chat completions in and out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol, runtime_checkable

from hydra_ray.records import ChatRequest, Generation, HydraError, Piece, Usage

# Kinds of failure that are an answer in themselves: the same request would meet them again.
FINAL_KINDS = frozenset({"refused", "filtered", "empty"})


class GenerateError(HydraError):
    """The generator gave no answer to one request; others are not affected.

    Attributes:
        kind: What went wrong, in one of a few words fit for a metric's label: "refused" (the request itself is at
            fault, e.g. too long), "filtered" (by the endpoint's content policy), "empty" (the LLM said nothing),
            "busy", "timeout", "connection", "server", "malformed", "key" (not accepted), "quota" (nothing is left to
            spend), "setting" (the endpoint takes no request of this form: an operator has to mend a setting),
            "deadline" (whoever asks no longer waits), "unavailable" (it failed so often that it is not asked now) or
            "other".
        transient: Whether the same request may succeed soon, so that it is worth trying again now.
        param: Field of somebody else's request that is at fault, where that is known: `tools[0].type`.
    """

    def __init__(self, message: str, kind: str = "other", transient: bool = False, *, param: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.transient = transient
        self.param = param

    @property
    def final(self) -> bool:
        """Whether the request ends like this whenever it is asked; otherwise it is unfinished and has no result."""
        return self.kind in FINAL_KINDS

    def __reduce__(self) -> tuple[Any, ...]:
        """Keeps its attributes on the way between Ray's processes."""
        return type(self), (str(self), self.kind, self.transient), {"param": self.param}


class FilteredError(GenerateError):
    """The LLM answered, and nothing of it is there: its filter took all answers, or it declined. They were paid for.

    A prompt that an endpoint's filter refuses was not answered: that is a plain `GenerateError` of the same kind.

    Args:
        message: What happened.
        usage: Calls and tokens that the answers took.
        refusal: Words in which the LLM declined; "" where a filter took the answers.
    """

    def __init__(self, message: str, usage: Usage, refusal: str = "") -> None:
        super().__init__(message, "filtered")
        self.usage, self.refusal = usage, refusal

    def __reduce__(self) -> tuple[Any, ...]:
        """Keeps its attributes on the way between Ray's processes."""
        return type(self), (str(self), self.usage, self.refusal)


class RephraseError(GenerateError):
    """The endpoint wants the request in another form, in which it will be asked from now on: ask again.

    Raised between a client and `SplittingGenerator`, so that a budget sees each request by itself.

    Attributes:
        lessons: Values of the endpoint's `Dialect` that were learnt now.
        samples: Most samples that one request may ask for; None leaves their number.
        texts: Answers that came all the same.
        choices: How many of the samples were answered, with text or without.
        usage: Calls and tokens that the request took.
        finishes: Why each of the answers ended, as `Generation` has it.
        ignored: Parameters that the LLM was not told, as `Generation` has them.
    """

    def __init__(
        self,
        message: str,
        kind: str = "setting",
        transient: bool = False,
        *,
        lessons: frozenset[str] = frozenset(),
        samples: int | None = None,
        texts: tuple[str, ...] = (),
        choices: int = 0,
        usage: Usage | None = None,
        finishes: tuple[str, ...] = (),
        ignored: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, kind, transient)
        self.lessons = lessons
        self.samples = samples
        self.texts = texts
        self.choices = choices
        self.usage = usage or Usage()
        self.finishes = finishes
        self.ignored = ignored


class BudgetSpentError(HydraError):
    """A budget does not allow one more request; nothing was asked."""


class Generator(Protocol):
    """A black-box LLM."""

    async def __call__(self, request: ChatRequest) -> Generation:
        """Samples up to `request.n` answers; fewer when the LLM returns fewer.

        Raises:
            GenerateError: The LLM gave no answer.
        """
        ...

    async def close(self) -> None:
        """Lets connections go, within the event loop that they were made in."""
        ...


@runtime_checkable
class StreamingGenerator(Protocol):
    """A black-box LLM that says an answer while it makes it."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields the pieces of one answer, whatever `request.n` is. Whoever closes it stops the LLM's work.

        Raises:
            GenerateError: The LLM gave no answer, or broke it off. What came before is none.
        """
        ...


async def stream_of(generator: Generator, request: ChatRequest) -> AsyncGenerator[Piece]:
    """Yields the pieces of one answer; all of it at once where the generator does not stream.

    Args:
        generator: The LLM.
        request: Request for one sample.

    Raises:
        GenerateError: The LLM gave no answer, or broke it off.
    """
    if isinstance(generator, StreamingGenerator):
        async with aclosing(generator.stream(request)) as pieces:
            async for piece in pieces:
                yield piece
    else:
        for piece in whole(await generator(request)):
            yield piece


def whole(generation: Generation) -> tuple[Piece, ...]:
    """Return an answer that is there already as its pieces."""
    finish = generation.ends[0] if generation.texts else "stop"
    return (*map(Piece, generation.texts[:1]), Piece("", finish, generation.usage, generation.ignored))
