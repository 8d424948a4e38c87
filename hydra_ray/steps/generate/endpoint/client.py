"""Any OpenAI-compatible endpoint, or several that stand in for each other, through the `openai` client."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import openai
from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception, stop_after_attempt, wait_random_exponential

from hydra_ray.records import ChatRequest, Generation, HydraError, Usage
from hydra_ray.steps.generate.base import GenerateError, RephraseError
from hydra_ray.steps.generate.endpoint.dialect import Dialect, lessons, named_settings
from hydra_ray.steps.generate.endpoint.dialect_file import DialectFile
from hydra_ray.steps.generate.endpoint.health import retry_after
from hydra_ray.steps.generate.endpoint.refusal import Refusal, plain, read_refusal, refusal_beside, refusal_within
from hydra_ray.steps.generate.endpoint.reply import Reply, read_reply
from hydra_ray.steps.generate.endpoint.target import NO_KEY, Endpoint, Target
from hydra_ray.steps.generate.limits import Pace

__all__ = ["Endpoint", "OpenAIGenerator"]

log = logging.getLogger(__name__)

# Upper end of the random wait before the first retry; it doubles with each.
FIRST_WAIT_S = 0.5
# An endpoint that asks for a longer wait is given up until then.
MAX_WAIT_S = 60.0
_LONGEST_MESSAGE = 300
# Of a reply in which nothing is an answer, so many characters are shown.
_SHOWN_OF_REPLY = 200

# Causes of a connection error that no retry mends, by the names of the HTTP client's exceptions.
_WRONG_URL = ("UnsupportedProtocol", "InvalidURL", "LocalProtocolError", "TooManyRedirects")
# Kinds of refusal that another form of the request could not mend.
_NOT_OF_FORM = frozenset({"refused", "filtered", "quota", "key", "busy", "timeout"})
_WAYS_OUT = {
    404: "check generator.base_url and generator.model",
    405: "check generator.base_url",
}
_FORM = "the endpoint takes no request of this form; `hydra-ray doctor` shows what it takes"


class OpenAIGenerator:
    """Asks the first endpoint that is well, and tries again what failed in passing.

    A request is tried in rounds. In a round each endpoint is asked once at most, in order, those that failed
    lately last, until one answers. Between rounds lies a random wait, exponentially longer each time. An endpoint
    that names a wait (Retry-After) is not asked before; one that refuses the key, or every request of this form,
    is not asked again for this request; a request that is itself refused fails at once.

    An endpoint that wants another form of the request raises `RephraseError`, once it is known which; from then
    on all requests have it. `SplittingGenerator` asks again.

    Args:
        model: Name of the model, where the endpoint has no other.
        endpoints: In order of preference, at least one.
        concurrency: Most requests in flight, over all endpoints.
        timeout_s: Seconds one attempt may take, from request to last byte.
        retries: Further rounds after a failed one.
        send_seed: Whether samples are seeded; not every endpoint takes a seed.
        requests_per_minute: Most attempts a minute, over all endpoints; None is no limit.
        tokens_per_minute: Most tokens a minute, in and out together; None is no limit.
        params: Further parameters of each request, by their names in `generator.params` and `extra_body`.
        dialect: What is set of the endpoints' dialect, as of `Dialect`, and so never learnt.
        known: What earlier processes learnt of endpoints' dialects.

    Raises:
        HydraError: A key file cannot be read, or what it holds is no key.
    """

    def __init__(
        self,
        model: str,
        endpoints: Sequence[Endpoint],
        *,
        concurrency: int = 32,
        timeout_s: float = 60,
        retries: int = 4,
        send_seed: bool = True,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        params: Mapping[str, Any] | None = None,
        dialect: Mapping[str, Any] | None = None,
        known: DialectFile | None = None,
    ) -> None:
        self._model = model
        told = {**(dialect or {}), **({} if send_seed else {"seed": False})}
        self.targets = [Target(endpoint, model, known or DialectFile(None), told) for endpoint in endpoints]
        self._timeout_s = timeout_s
        self._retries = retries
        self._params = dict(params or {})
        self._slots = asyncio.Semaphore(concurrency)
        self._pace = Pace(requests_per_minute, tokens_per_minute)

    def most_samples(self) -> int | None:
        """How many samples one request may ask the preferred endpoint for; None is any number."""
        return self.targets[0].dialect.samples

    async def __call__(self, request: ChatRequest) -> Generation:
        failed: dict[Target, GenerateError] = {}

        def worthwhile(error: BaseException) -> bool:
            waits = [target.health.closed_for() for target in self._hopeful(failed)]
            return isinstance(error, GenerateError) and error.transient and min(waits) <= MAX_WAIT_S

        retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + self._retries),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=MAX_WAIT_S),
            retry=retry_if_exception(worthwhile),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        return await retrying(self._round, request, failed)

    async def close(self) -> None:
        """Closes the clients' connections."""
        for target in self.targets:
            await target.client.close()

    async def _round(self, request: ChatRequest, failed: dict[Target, GenerateError]) -> Generation:
        """Asks one endpoint after the other until one answers; `failed` takes what went wrong at each."""
        left = self._hopeful(failed)
        while left and (closed := min(target.health.closed_for() for target in left)) <= MAX_WAIT_S:
            if closed > 0:
                # Those that wait for the same moment should not come together.
                await asyncio.sleep(closed + random.uniform(0, min(closed, 1)))
            async with self._slots:
                await self._pace(request)
                target = min(left, key=lambda target: target.health.reluctance())
                if target.health.closed_for() > 0:
                    # Another request was told to wait while this one waited for its turn.
                    continue
                async with target.turn():
                    most = target.dialect.samples
                    if most is not None and request.n > most:
                        # Learnt while this request waited for its turn, or of an endpoint that stands in for another.
                        raise RephraseError(f"{request.n} samples are too many for one request", samples=most)
                    reply = await self._ask(target, request)
                    if not isinstance(reply, RephraseError):
                        target.note_end()
            if isinstance(reply, Generation):
                return reply
            if isinstance(reply, RephraseError):
                # In full now: it may be what the request ends with.
                reply.args = (f"{self._model}: {self._told(target, str(reply))}",)
                raise reply
            if reply.final:
                raise self._failure({target: reply})
            failed[target] = reply
            left = [other for other in left if other is not target and not other.health.closed_for()]
            if left:
                log.warning("%s (%s) gave no answer, another endpoint is asked: %s", self._model, target.host, reply)
        for target in self.targets:
            failed.setdefault(target, GenerateError("not asked", "busy", transient=True))
        raise self._failure(failed)

    def _hopeful(self, failed: Mapping[Target, GenerateError]) -> list[Target]:
        return [target for target in self.targets if target not in failed or failed[target].transient]

    async def _ask(self, target: Target, request: ChatRequest) -> Generation | GenerateError:
        """One attempt, and one more where the key was replaced meanwhile."""
        target.health.probe()
        known = len(target.keys)
        reply = await self._attempt(target, request)
        try:
            if isinstance(reply, GenerateError) and reply.kind == "key" and target.has_other_key(known):
                reply = await self._attempt(target, request)
        except HydraError as error:
            reply = GenerateError(f"{reply}; {error}", "key")
        # A refused request says nothing against the endpoint.
        well = isinstance(reply, Generation | RephraseError) or reply.final
        target.health.note(well=well)
        return reply

    async def _attempt(self, target: Target, request: ChatRequest) -> Generation | GenerateError:
        """Returns a failure: raised from here it would carry the client's own, which may quote the key."""
        spoken = target.dialect
        sent = {**spoken.body(request, target.model), **self._params}
        try:
            # Over the whole attempt. The client's time-outs are for each read, and a drip of bytes would never end.
            async with asyncio.timeout(self._timeout_s):
                raw = await target.client.chat.completions.with_raw_response.create(
                    model=sent["model"],
                    messages=sent["messages"],
                    extra_body={name: value for name, value in sent.items() if name not in ("model", "messages")},
                )
            text = _text(raw.http_response.content, raw.http_response.text)
        except TimeoutError:
            return GenerateError(f"timed out: no whole reply within {self._timeout_s:g} s", "timeout", transient=True)
        except openai.APIStatusError as error:
            refusal = read_refusal(error.status_code, error.response.text)
            return self._refused(target, request, sent, refusal, error.response.headers)
        except openai.APIConnectionError as error:
            wrong = type(error.__cause__).__name__ in _WRONG_URL
            kind, way_out = ("setting", "; check generator.base_url") if wrong else ("connection", "")
            told = self._masked(f"{error} {error.__cause__ or ''}".strip())
            return GenerateError(f"{told}{way_out}", kind, transient=not wrong)
        except UnicodeEncodeError as error:
            return GenerateError(f"the request is not valid Unicode: {error.reason}", "refused")
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            return GenerateError(self._masked(f"the reply makes no sense: {error}"), "malformed", transient=True)
        return self._read(target, spoken, request, sent, text)

    def _read(
        self, target: Target, spoken: Dialect, request: ChatRequest, sent: dict[str, Any], text: str
    ) -> Generation | GenerateError:
        """What came with status 200."""
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            said = plain(text) if text.lstrip().startswith("<") else f"{error}: {plain(text)}"
            return GenerateError(self._masked(f"the reply makes no sense: {said}"), "malformed", transient=True)
        if refusal := refusal_within(body):
            return self._refused(target, request, sent, refusal, {})
        reply = read_reply(body)
        if refusal := refusal_beside(body, bool(reply.texts)):
            return self._refused(target, request, sent, refusal, {})
        if not reply.texts or any(kind == "server" for kind, _ in reply.lost):
            failure = self._nothing(reply, text)
            if not failure.final:
                return failure
        target.note_answer(spoken, sent, reply)
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
            )
        if not reply.texts:
            return self._nothing(reply, text)
        for kind, why in reply.lost:
            log.warning("%s: a sample has no answer (%s)", self._model, why or kind)
        # More than were asked for would have more votes than others.
        return Generation(reply.texts[: request.n], reply.usage)

    def _nothing(self, reply: Reply, text: str) -> GenerateError:
        """Why a reply without texts has none."""
        kinds = [kind for kind, _ in reply.lost]
        # An LLM that said nothing would say it again; a reply of another shape was hardly an LLM's.
        kind = next((kind for kind in ("server", "filtered", "empty") if kind in kinds), "malformed")
        why = next((why for one, why in reply.lost if one == kind and why), "")
        why = why or (text[:_SHOWN_OF_REPLY] if kind == "malformed" else "")
        told = f"the reply has no choices with text{f': {plain(why)}' if why else ''}"
        return GenerateError(self._masked(told), kind, transient=kind in ("server", "malformed"))

    def _refused(
        self, target: Target, request: ChatRequest, sent: dict[str, Any], refusal: Refusal, headers: Mapping[str, str]
    ) -> GenerateError:
        """A refusal that teaches, or how the request ends."""
        kind, status = refusal.kind, f"HTTP {refusal.status}: " if refusal.status else "an error came as a reply: "
        told = self._masked(f"{status}{refusal.reason}")
        if kind not in _NOT_OF_FORM:
            ours = named_settings(refusal, sent, list(self._params))
            learnt = {} if ours and refusal.fields else lessons(refusal, sent)
            if learnt and (names := target.learn(learnt, told)):
                samples = learnt.get("samples")
                return RephraseError(_with(told, _FORM), lessons=names, samples=samples, usage=Usage(1))
            if ours and kind in ("setting", ""):
                named = ", ".join(ours)
                return GenerateError(_with(told, f"set in generator.params or extra_body: {named}"), "setting")
        if kind in ("setting", ""):
            target.forget_unconfirmed()
        if not kind:
            own = target.refuses_alone(request, sent)
            return GenerateError(told if own else _with(told, _FORM), "refused" if own else "setting")
        if transient := kind in ("busy", "server", "timeout"):
            target.health.close_for(retry_after(headers))
        if kind == "setting" and (way_out := _WAYS_OUT.get(refusal.status)):
            told = _with(told, way_out)
        return GenerateError(told, kind, transient)

    def _failure(self, failed: Mapping[Target, GenerateError]) -> GenerateError:
        """The one error that a request ends with."""
        first = next((error for error in failed.values() if error.transient), next(iter(failed.values())))
        told = "; ".join(self._told(target, str(error)) for target, error in failed.items())
        return GenerateError(f"{self._model}: {told}", first.kind, first.transient)

    def _told(self, target: Target, error: str) -> str:
        place = f"endpoint {self.targets.index(target) + 1} ({target.host}): "
        closed = target.health.closed_for()
        wait = f" (asks to be left alone for {closed:.0f} s)" if closed >= 1 else ""
        return f"{place if len(self.targets) > 1 else ''}{error}{wait}"

    def _masked(self, message: str) -> str:
        # Some servers repeat the key that they refuse. Cut last: half a key would not be found.
        keys = {key for target in self.targets for key in target.keys if key != NO_KEY}
        for key in sorted(keys, key=len, reverse=True):
            message = message.replace(key, "***")
        return re.sub(r"(?i)\b(bearer) +\S+", r"\1 ***", message)[:_LONGEST_MESSAGE]


def _text(body: bytes, as_told: str) -> str:
    """A body as JSON has it, which is UTF-8 whatever its header tells; where it is not, as that tells."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return as_told


def _with(told: str, way_out: str) -> str:
    """A message and the way out, no longer together than a message may be."""
    return f"{told[: _LONGEST_MESSAGE - len(way_out) - 3]} ({way_out})"
