"""Any OpenAI-compatible endpoint, or several that stand in for each other, through the `openai` client."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from hydra_ray.records import ChatRequest, Generation, Piece, Usage
from hydra_ray.steps.generate.base import FilteredError, GenerateError, RephraseError, whole
from hydra_ray.steps.generate.endpoint.dialect import Dialect, lessons, named_settings
from hydra_ray.steps.generate.endpoint.dialect_file import DialectFile
from hydra_ray.steps.generate.endpoint.failing import FAILURES, Refused, failure_of
from hydra_ray.steps.generate.endpoint.health import retry_after
from hydra_ray.steps.generate.endpoint.heard import Answering, Heard
from hydra_ray.steps.generate.endpoint.passing import PassThrough
from hydra_ray.steps.generate.endpoint.refusal import Refusal, plain, refusal_beside, refusal_within
from hydra_ray.steps.generate.endpoint.reply import Reply, read_reply
from hydra_ray.steps.generate.endpoint.rounds import Rounds
from hydra_ray.steps.generate.endpoint.target import NO_KEY, Endpoint, Target
from hydra_ray.steps.generate.limits import Pace
from hydra_ray.steps.generate.passing import Body

__all__ = ["Endpoint", "OpenAIGenerator"]

log = logging.getLogger(__name__)

_LONGEST_MESSAGE = 300
# Of a reply in which nothing is an answer, so many characters are shown.
_SHOWN_OF_REPLY = 200

# Kinds of refusal that another form of the request could not mend.
_NOT_OF_FORM = frozenset({"refused", "filtered", "quota", "key", "busy", "timeout"})
_WAYS_OUT = {
    404: "check generator.base_url and generator.model",
    405: "check generator.base_url",
}
_FORM = "the endpoint takes no request of this form; `hydra-ray doctor` shows what it takes"


@dataclass(frozen=True, slots=True)
class _Sent:
    """One attempt: at which endpoint, in which dialect of it, and what is asked with what body."""

    target: Target
    spoken: Dialect
    request: ChatRequest
    body: dict[str, Any]

    @property
    def more(self) -> dict[str, Any]:
        """All of the body but what the client's method wants by name.

        Messages go with it: those that the method is given it compares with the types of all that a message may be,
        a tenth of a millisecond and more for each.
        """
        return {name: value for name, value in self.body.items() if name not in ("model", "stream")}

    @property
    def held(self) -> bool:
        """Whether the body holds the answer to the request's schema."""
        return self.spoken.holds(self.request)

    @property
    def own_form(self) -> dict[str, Any]:
        """The body without what a client wants: what is refused with it and taken without is the client's fault."""
        return {name: value for name, value in self.body.items() if name not in self.request.sampling.parameters()}


@dataclass(frozen=True, slots=True)
class _Begun:
    """A stream whose first words are there."""

    sent: _Sent
    heard: Heard
    answering: Answering
    deadline: float
    first: str


class OpenAIGenerator:
    """Asks the first endpoint that is well, and tries again what failed in passing, as `Rounds` says.

    An endpoint that wants another form of the request raises `RephraseError`, once it is known which; from then
    on all requests have it. `SplittingGenerator` asks again.

    Args:
        model: Name of the model, where the endpoint has no other.
        endpoints: Endpoints in order of preference, at least one.
        concurrency: Most requests in flight, over all endpoints.
        timeout_s: Seconds one attempt may take, from request to last byte.
        retries: Further rounds after a failed one.
        send_seed: Whether samples are seeded; not every endpoint takes a seed.
        requests_per_minute: Most attempts a minute, over all endpoints; None is no limit.
        tokens_per_minute: Most tokens a minute, in and out together; None is no limit.
        params: Further parameters of each request, by their names in `generator.params` and `extra_body`.
        dialect: Values of the endpoints' `Dialect` that are set, and so never learnt.
        known: File of the dialects that earlier processes learnt; None keeps nothing.

    Raises:
        HydraError: A key file cannot be read, or what it holds is no key.
    """

    def __init__(
        self,
        model: str,
        endpoints: Sequence[Endpoint],
        *,
        concurrency: int,
        timeout_s: float,
        retries: int,
        send_seed: bool,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        params: Mapping[str, Any],
        dialect: Mapping[str, Any],
        known: DialectFile | None = None,
    ) -> None:
        self._model = model
        message = {**dialect, **({} if send_seed else {"seed": False})}
        self.targets = [Target(endpoint, model, known or DialectFile(None), message) for endpoint in endpoints]
        self._timeout_s = timeout_s
        self._params = dict(params)
        pace = Pace(requests_per_minute, tokens_per_minute)
        self._rounds = Rounds(model, self.targets, pace, concurrency, retries)
        self._pass = PassThrough(self._rounds, params, timeout_s, self._masked)

    def most_samples(self) -> int | None:
        """Return how many samples one request may ask the preferred endpoint for; None is any number."""
        return self.targets[0].dialect.samples

    async def __call__(self, request: ChatRequest) -> Generation:
        async with AsyncExitStack() as held:
            return await self._rounds(request, lambda target: self._attempt(target, request), held)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields one answer as the LLM says it. Another endpoint may be asked before the first piece only."""
        async with AsyncExitStack() as held:
            begun: Generation | _Begun = await self._rounds(request, lambda target: self._open(target, request), held)
            if isinstance(begun, Generation):
                for piece in whole(begun):
                    yield piece
                return
            held.push_async_callback(begun.heard.close)
            yield Piece(begun.first)
            async for piece in self._rest(begun):
                yield piece

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the reply to what somebody else asks, in their words, as it came."""
        return self._pass(body)

    async def close(self) -> None:
        """Closes the clients' connections."""
        for target in self.targets:
            await target.client.close()

    async def _attempt(self, target: Target, request: ChatRequest) -> Generation | GenerateError:
        """Returns a failure: raised from here it would carry the client's own, which may quote the key."""
        spoken = target.dialect
        # What a client wants goes before what is set for all.
        sent = _Sent(target, spoken, request, {**self._params, **spoken.body(request, target.model)})
        try:
            # Over the whole attempt. The client's time-outs are for each read, and a drip of bytes would never end.
            async with asyncio.timeout(self._timeout_s):
                raw = await target.client.chat.completions.with_raw_response.create(
                    model=sent.body["model"], messages=[], extra_body=sent.more
                )
            text = _text(raw.http_response.content, raw.http_response.text)
        except FAILURES as error:
            return self._went_wrong(sent, error)
        return self._read(sent, text)

    async def _open(self, target: Target, request: ChatRequest) -> Generation | GenerateError | _Begun:
        """Asks for a stream, and waits for the first words of its answer: until then another endpoint may be asked."""
        spoken = target.dialect
        if spoken.streams == "whole":
            return await self._attempt(target, request)
        sent = _Sent(target, spoken, request, {**self._params, **spoken.streamed(request, target.model)})
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with AsyncExitStack() as opened, asyncio.timeout_at(deadline):
                chunks = await target.client.chat.completions.create(
                    model=sent.body["model"], messages=[], stream=True, extra_body=sent.more
                )
                opened.push_async_callback(chunks.close)
                if "event-stream" not in chunks.response.headers.get("content-type", ""):
                    # Some answer as a whole whatever they are asked, errors above all.
                    return self._read(sent, _text(await chunks.response.aread(), chunks.response.text))
                heard, answering = Heard(chunks), Answering(reasons=target.reasons)
                while (words := await heard.words()) is not None:
                    if first := answering.add(words, heard.reasons_apart):
                        opened.pop_all()
                        return _Begun(sent, heard, answering, deadline, first)
                return self._end(sent, heard)
        except FAILURES as error:
            return self._went_wrong(sent, error)

    async def _rest(self, begun: _Begun) -> AsyncGenerator[Piece]:
        """Yields what comes after the first words."""
        sent, heard, answering = begun.sent, begun.heard, begun.answering
        while True:
            try:
                # Not over what the listener does meanwhile.
                async with asyncio.timeout_at(begun.deadline):
                    words = await heard.words()
            except FAILURES as error:
                raise self._broken_off(sent, self._went_wrong(sent, error)) from None
            if words is None:
                break
            if more := answering.add(words, heard.reasons_apart):
                yield Piece(more)
        answer = self._end(sent, heard)
        if isinstance(answer, GenerateError):
            raise self._broken_off(sent, answer) from None
        rest = answering.rest(answer.texts[0])
        if answering.released != answer.texts[0]:
            log.warning("%s: reasoning was streamed before it was known as such; from now on it is held", self._model)
        if rest:
            yield Piece(rest)
        yield Piece(finish=answer.ends[0], usage=answer.usage, ignored=answer.ignored)

    def _end(self, sent: _Sent, heard: Heard) -> Generation | GenerateError:
        """What a stream came to, by the same rules as a whole reply."""
        if not heard.finish:
            return GenerateError("the stream ended before the answer did", "connection", transient=True)
        return self._read(sent, json.dumps(heard.body()))

    def _broken_off(self, sent: _Sent, why: GenerateError) -> GenerateError:
        sent.target.health.note(well=why.final)
        return self._rounds.failure({sent.target: why})

    def _went_wrong(self, sent: _Sent, error: Exception) -> GenerateError:
        """Why an attempt has no answer, by what the client raised."""
        failure = failure_of(error, self._timeout_s)
        if isinstance(failure, Refused):
            return self._refused(sent, failure.refusal, failure.headers)
        return GenerateError(self._masked(str(failure)), failure.kind, failure.transient)

    def _read(self, sent: _Sent, text: str) -> Generation | GenerateError:
        """Read the body that came with status 200: an answer or an error."""
        target, request = sent.target, sent.request
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            said = plain(text) if text.lstrip().startswith("<") else f"{error}: {plain(text)}"
            return GenerateError(self._masked(f"the reply makes no sense: {said}"), "malformed", transient=True)
        if refusal := refusal_within(body):
            return self._refused(sent, refusal, {})
        reply = read_reply(body)
        if refusal := refusal_beside(body, bool(reply.texts)):
            return self._refused(sent, refusal, {})
        if not reply.texts or any(kind == "server" for kind, _ in reply.lost):
            failure = self._nothing(reply, text)
            if not failure.final:
                return failure
        target.note_answer(sent.spoken, sent.own_form, reply)
        ignored = sent.spoken.leaves_out(request)
        if 0 < reply.choices < request.n:
            reason = f"{reply.choices} of {request.n} samples came"
            learnt = target.learn({"samples": reply.choices}, reason)
            return RephraseError(
                reason,
                lessons=learnt,
                samples=reply.choices,
                texts=reply.texts,
                choices=reply.choices,
                usage=reply.usage,
                finishes=reply.finishes,
                ignored=ignored,
            )
        if not reply.texts:
            return self._nothing(reply, text)
        for kind, why in reply.lost:
            log.warning("%s: a sample has no answer (%s)", self._model, why or kind)
        # More than were asked for would have more votes than others.
        return Generation(reply.texts[: request.n], reply.usage, reply.finishes[: request.n], ignored)

    def _nothing(self, reply: Reply, text: str) -> GenerateError:
        """Why a reply without texts has none."""
        kinds = [kind for kind, _ in reply.lost]
        # An LLM that said nothing would say it again; a reply of another shape was hardly an LLM's.
        kind = next((kind for kind in ("server", "filtered", "empty") if kind in kinds), "malformed")
        why = next((why for one, why in reply.lost if one == kind and why), "")
        why = why or (text[:_SHOWN_OF_REPLY] if kind == "malformed" else "")
        message = f"the reply has no choices with text{f': {plain(why)}' if why else ''}"
        if kind == "filtered":
            return FilteredError(self._masked(message), reply.usage, reply.refusal)
        return GenerateError(self._masked(message), kind, transient=kind in ("server", "malformed"))

    def _refused(self, sent: _Sent, refusal: Refusal, headers: Mapping[str, str]) -> GenerateError:
        """A refusal that teaches, or how the request ends."""
        target = sent.target
        kind, status = refusal.kind, f"HTTP {refusal.status}: " if refusal.status else "an error came as a reply: "
        message = self._masked(f"{status}{refusal.reason}")
        if kind not in _NOT_OF_FORM:
            wanted = sent.request.sampling.parameters()
            # Of those that are sent by `generator.params`: what holds the answer to a schema goes before.
            set_by_hand = self._params.keys() - wanted.keys() - ({"response_format"} if sent.held else set())
            ours = named_settings(refusal, sent.body, sorted(set_by_hand))
            learnt = {} if ours and refusal.fields else lessons(refusal, sent.body, wanted, held=sent.held)
            if not (kind or learnt or ours) and sent.held and not target.takes(sent.own_form):
                # In words that nobody knows: whether it is the schema shows once it is left out.
                learnt = {"json_by": "words"}
            if learnt and (names := target.learn(learnt, message)):
                samples = learnt.get("samples")
                return RephraseError(_with(message, _FORM), lessons=names, samples=samples, usage=Usage(1))
            if ours and kind in ("setting", ""):
                named = ", ".join(ours)
                return GenerateError(_with(message, f"set in generator.params or extra_body: {named}"), "setting")
        if kind in ("setting", ""):
            target.forget_unconfirmed()
        if not kind:
            own = target.refuses_alone(sent.request, sent.own_form)
            return GenerateError(message if own else _with(message, _FORM), "refused" if own else "setting")
        if transient := kind in ("busy", "server", "timeout"):
            target.health.close_for(retry_after(headers))
        if kind == "setting" and (way_out := _WAYS_OUT.get(refusal.status)):
            message = _with(message, way_out)
        return GenerateError(message, kind, transient)

    def _masked(self, message: str) -> str:
        # Some servers repeat the key that they refuse. Cut last: half a key would not be found.
        keys = {key for target in self.targets for key in target.keys if key != NO_KEY}
        for key in sorted(keys, key=len, reverse=True):
            message = message.replace(key, "***")
        return re.sub(r"(?i)\b(bearer) +\S+", r"\1 ***", message)[:_LONGEST_MESSAGE]


def _text(body: bytes, as_reported: str) -> str:
    """A body as JSON has it, which is UTF-8 whatever its header tells; where it is not, as that tells."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return as_reported


def _with(message: str, way_out: str) -> str:
    """A message and the way out, no longer together than a message may be."""
    return f"{message[: _LONGEST_MESSAGE - len(way_out) - 3]} ({way_out})"
