"""Asks for a request's samples in as many requests as the endpoint wants, and in the form that its refusals teach."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from hydra_ray.records import ChatRequest, Generation, Piece, Usage
from hydra_ray.steps.generate.base import FilteredError, GenerateError, Generator, RephraseError, stream_of
from hydra_ray.steps.generate.cache import AnswerCache, ask_key
from hydra_ray.steps.generate.passing import Body, passed_of

log = logging.getLogger(__name__)


class SplittingGenerator:
    """Asks the whole request, or parts of it where one may ask for so many samples only.

    Sample i of a request is seeded with its seed + i, whether it is asked for alone or not. A part that fails for
    now leaves the whole request unfinished: what the others brought is kept, so that only it is asked again. Of
    samples that fail for good the others are the answer.

    Args:
        generator: The LLM, within a budget where there is one; may raise `RephraseError`.
        most_samples: Tells how many samples one request may ask for; None is any number.
        cache: Keeps parts of requests; None keeps nothing.
        identity: Name of what else the answers depend on, the same as `CachedGenerator` has.
        reasoning_tokens: Most tokens of reasoning, on top of each request's longest answer.
    """

    def __init__(
        self,
        generator: Generator,
        most_samples: Callable[[], int | None],
        cache: AnswerCache | None,
        identity: str,
        reasoning_tokens: int,
    ) -> None:
        self._generator = generator
        self._most_samples = most_samples
        self._cache = cache
        self._identity = identity
        self._reasoning_tokens = reasoning_tokens

    async def __call__(self, request: ChatRequest) -> Generation:
        return await self._ask(request)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields one answer as the LLM says it. Refusals teach before its first piece, and are not heard of here."""
        room = replace(request, n=1, max_tokens=request.max_tokens + self._reasoning_tokens)
        spent, tried = Usage(), set[str]()
        while True:
            try:
                async with aclosing(stream_of(self._generator, room)) as pieces:
                    async for piece in pieces:
                        yield piece if piece.usage is None else replace(piece, usage=spent + piece.usage)
                return
            except RephraseError as error:
                if error.lessons <= tried:
                    raise GenerateError(str(error), error.kind) from None
                tried |= error.lessons
                spent += error.usage
            except FilteredError as error:
                error.usage += spent
                raise

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the LLM's reply to what somebody else asks."""
        return passed_of(self._generator, body)

    async def close(self) -> None:
        """Closes the generator; the cache is not this object's."""
        await self._generator.close()

    async def _ask(self, request: ChatRequest) -> Generation:
        """Asks at once for as long as one request may ask for so many; then in parts."""
        most = self._most_samples()
        come, tried = Generation((), Usage()), set[str]()
        while most is None or request.n <= most:
            try:
                room = replace(request, max_tokens=request.max_tokens + self._reasoning_tokens)
                answer = await self._generator(room)
            except RephraseError as error:
                if error.lessons and error.lessons <= tried:
                    # The same lesson twice is no lesson; the message says what the endpoint does not take.
                    raise GenerateError(str(error), error.kind) from None
                tried |= error.lessons
                answer = Generation(error.texts, error.usage, error.finishes, error.ignored)
                come += answer
                if error.choices:
                    self._keep(replace(request, n=error.choices), answer)
                    request = replace(request, n=request.n - error.choices, seed=_seed(request, error.choices))
                most = error.samples or most
            except GenerateError as error:
                if not (come.texts and error.final):
                    if isinstance(error, FilteredError):
                        error.usage += come.usage
                    raise
                log.warning("%d samples have no answer: %s", request.n, error)
                return come + Generation((), _spent(error))
            else:
                return come + answer
        parts = map(self._part, parts_of(request, most))
        return _joined(come, await asyncio.gather(*parts, return_exceptions=True))

    async def _part(self, part: ChatRequest) -> Generation:
        known = self._cache.get(ask_key(self._identity, part), part.users) if self._cache else None
        if known is not None:
            return known
        answer = await self._ask(part)
        self._keep(part, answer)
        return answer

    def _keep(self, part: ChatRequest, answer: Generation) -> None:
        # It is what the part would be answered with if somebody asked for it alone.
        if self._cache and answer.texts:
            self._cache.put(ask_key(self._identity, part), answer, part.users)


def parts_of(request: ChatRequest, most: int | None) -> list[ChatRequest]:
    """Return the requests that together ask for all samples, where one may ask for `most` of them."""
    if most is None or request.n <= most:
        return [request]
    return [replace(request, n=min(most, request.n - at), seed=_seed(request, at)) for at in range(0, request.n, most)]


def _joined(come: Generation, ends: list[Generation | BaseException]) -> Generation:
    """Join the parts' answers with those of the same request that are there already.

    Raises:
        GenerateError: A part failed for now, or all of them for good.
        BudgetSpentError: A part was not allowed any more.
    """
    failures = [end for end in ends if isinstance(end, BaseException)]
    final = [end for end in failures if isinstance(end, GenerateError) and end.final]
    if unfinished := [end for end in failures if end not in final]:
        # A budget that is spent says more than a call that failed.
        raise min(unfinished, key=lambda end: isinstance(end, GenerateError))
    answers = [end for end in ends if isinstance(end, Generation)]
    spent = sum(map(_spent, final), Usage())
    if final and not answers and not come.texts:
        if filtered := next((end for end in final if isinstance(end, FilteredError)), None):
            filtered.usage = come.usage + spent
        raise filtered or final[0]
    for error in final:
        log.warning("one of %d samples has no answer: %s", len(ends), error)
    return sum(answers, come + Generation((), spent))


def _spent(error: GenerateError) -> Usage:
    """What a request took that has no answer."""
    return error.usage if isinstance(error, FilteredError) else Usage(1)


def _seed(request: ChatRequest, i: int) -> int:
    return (request.seed + i) & 0x7FFF_FFFF
