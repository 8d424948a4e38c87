"""Any OpenAI-compatible endpoint, or several that stand in for each other, through the `openai` client."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import openai
from openai import AsyncOpenAI
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from hydra_ray.records import ChatRequest, Generation, HydraError, Usage
from hydra_ray.steps.generate.base import GenerateError
from hydra_ray.steps.generate.health import Health, retry_after
from hydra_ray.steps.generate.limits import Pace

# Upper end of the random wait before the first retry; it doubles with each.
FIRST_WAIT_S = 0.5
# An endpoint that asks for a longer wait is given up until then.
MAX_WAIT_S = 60.0

_KINDS = {401: "key", 403: "key", 408: "timeout", 409: "busy", 429: "busy"}
_NO_KEY = "no-key-set"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the LLM is asked, and where the key for it is.

    Attributes:
        base_url: None is the client's default.
        api_key_env: Environment variable that holds the key. Local servers often need none.
        api_key_file: File that holds the key; goes before the variable, and is read again when the key is refused.
        model: The endpoint's own name of the model, if it has one.
    """

    base_url: str | None
    api_key_env: str = "OPENAI_API_KEY"
    api_key_file: Path | None = None
    model: str | None = None


class OpenAIGenerator:
    """Asks the first endpoint that is well, and tries again what failed in passing.

    A request is tried in rounds. In a round each endpoint is asked once at most, in order, those that failed
    lately last, until one answers. Between rounds lies a random wait, exponentially longer each time. An endpoint
    that names a wait (Retry-After) is not asked before; one that refuses the key is not asked again for this
    request; a request that is itself refused fails at once.

    Args:
        model: Name of the model, where the endpoint has no other.
        endpoints: In order of preference, at least one.
        concurrency: Most requests in flight, over all endpoints.
        timeout_s: Seconds one attempt may take, from request to last byte.
        retries: Further rounds after a failed one.
        send_seed: Whether samples are seeded; not every endpoint takes a seed.
        requests_per_minute: Most attempts a minute, over all endpoints; None is no limit.
        tokens_per_minute: Most tokens a minute, in and out together; None is no limit.

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
    ) -> None:
        self._model = model
        self._targets = [_Target(endpoint, model) for endpoint in endpoints]
        self._timeout_s = timeout_s
        self._retries = retries
        self._send_seed = send_seed
        self._slots = asyncio.Semaphore(concurrency)
        self._pace = Pace(requests_per_minute, tokens_per_minute)

    async def __call__(self, request: ChatRequest) -> Generation:
        failed: dict[_Target, GenerateError] = {}

        def worthwhile(error: BaseException) -> bool:
            waits = [target.health.closed_for() for target in self._hopeful(failed)]
            return isinstance(error, GenerateError) and error.transient and min(waits) <= MAX_WAIT_S

        retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + self._retries),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=MAX_WAIT_S),
            retry=retry_if_exception(worthwhile),
            reraise=True,
        )
        return await retrying(self._round, request, failed)

    async def close(self) -> None:
        """Closes the clients' connections."""
        for target in self._targets:
            await target.client.close()

    async def _round(self, request: ChatRequest, failed: dict[_Target, GenerateError]) -> Generation:
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
                reply = await self._ask(target, request)
            if isinstance(reply, Generation):
                return reply
            if reply.kind in ("refused", "empty", "other"):
                raise self._failure({target: reply})
            failed[target] = reply
            left = [other for other in left if other is not target and not other.health.closed_for()]
        for target in self._targets:
            failed.setdefault(target, GenerateError("not asked", "busy", transient=True))
        raise self._failure(failed)

    def _hopeful(self, failed: Mapping[_Target, GenerateError]) -> list[_Target]:
        return [target for target in self._targets if target not in failed or failed[target].transient]

    async def _ask(self, target: _Target, request: ChatRequest) -> Generation | GenerateError:
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
        target.health.note(well=isinstance(reply, Generation) or reply.kind in ("refused", "empty", "other"))
        return reply

    async def _attempt(self, target: _Target, request: ChatRequest) -> Generation | GenerateError:
        """Returns a failure: raised from here it would carry the client's own, which may quote the key."""
        try:
            # Over the whole attempt. The client's time-outs are for each read, and a drip of bytes would never end.
            async with asyncio.timeout(self._timeout_s):
                reply = await target.client.chat.completions.create(
                    model=target.model,
                    messages=[{"role": m.role, "content": m.content} for m in request.messages],  # type: ignore[misc]
                    n=request.n,
                    temperature=request.temperature,
                    max_tokens=request.max_tokens,
                    # A greedy answer needs no seed.
                    seed=request.seed if self._send_seed and request.temperature > 0 else openai.omit,
                )
        except TimeoutError:
            return GenerateError(f"timed out: no whole reply within {self._timeout_s:g} s", "timeout", transient=True)
        except openai.APIStatusError as error:
            status = error.status_code
            kind = _KINDS.get(status) or ("server" if status >= 500 else "refused" if status >= 400 else "other")
            if transient := kind in ("busy", "server", "timeout"):
                target.health.close_for(retry_after(error.response.headers))
            return GenerateError(self._masked(f"HTTP {status}: {_message(error)}"), kind, transient)
        except openai.APIConnectionError as error:
            return GenerateError(self._masked(f"{error} {error.__cause__ or ''}".strip()), "connection", transient=True)
        except UnicodeEncodeError as error:
            return GenerateError(f"the request is not valid Unicode: {error.reason}", "refused")
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            return GenerateError(self._masked(f"the reply makes no sense: {error}"), "malformed", transient=True)
        return _generation(reply)

    def _failure(self, failed: Mapping[_Target, GenerateError]) -> GenerateError:
        """The one error that a request ends with."""
        first = next((error for error in failed.values() if error.transient), next(iter(failed.values())))
        told = []
        for target, error in failed.items():
            place = f"endpoint {self._targets.index(target) + 1} ({target.client.base_url.host}): "
            closed = target.health.closed_for()
            wait = f" (asks to be left alone for {closed:.0f} s)" if closed >= 1 else ""
            told.append(f"{place if len(self._targets) > 1 else ''}{error}{wait}")
        return GenerateError(f"{self._model}: {'; '.join(told)}", first.kind, first.transient)

    def _masked(self, message: str) -> str:
        # Some servers repeat the key that they refuse. Cut last: half a key would not be found.
        keys = {key for target in self._targets for key in target.keys if key != _NO_KEY}
        for key in sorted(keys, key=len, reverse=True):
            message = message.replace(key, "***")
        return message[:300]


class _Target:
    """An endpoint with its client, its keys and its health."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self.model = endpoint.model or model
        # The last one is in use; earlier ones may still turn up in errors.
        self.keys = [_read_key(endpoint)]
        self.client = AsyncOpenAI(api_key=self.keys[-1], base_url=endpoint.base_url, timeout=None, max_retries=0)
        self.health = Health()

    def has_other_key(self, known: int) -> bool:
        """Reads the key again; whether one came after the first `known`."""
        key = _read_key(self._endpoint)
        if key != self.keys[-1]:
            self.keys.append(key)
            self.client.api_key = key
        return len(self.keys) > known


def _read_key(endpoint: Endpoint) -> str:
    place, key = f"api_key_env: {endpoint.api_key_env}", os.environ.get(endpoint.api_key_env, "").strip() or _NO_KEY
    if path := endpoint.api_key_file:
        try:
            place, key = f"api_key_file: {path}", path.read_bytes().decode("ascii", errors="replace").strip()
        except OSError as error:
            raise HydraError(f"generator.api_key_file: {path} cannot be read: {error.strerror}") from None
    # Anything else does not go into a header, and the error of that would quote it.
    if not re.fullmatch("[ -~]+", key):
        raise HydraError(f"generator.{place} holds no key: one line of ASCII letters, digits and signs")
    return key


def _generation(reply: object) -> Generation | GenerateError:
    """What a reply says; the client does not check that it has OpenAI's shape."""
    choices = getattr(reply, "choices", None)
    messages = [getattr(choice, "message", None) for choice in choices] if isinstance(choices, list) else []
    contents = [getattr(message, "content", 0) for message in messages]
    # Half of a surrogate pair is valid in JSON, and nowhere that texts go from here.
    texts = [text.encode(errors="replace").decode().strip() for text in contents if isinstance(text, str)]
    if not any(texts):
        # An LLM that said nothing would say it again; a reply of another shape was hardly an LLM's.
        empty = bool(texts) or None in contents
        return GenerateError("the reply has no choices with text", "empty" if empty else "malformed", not empty)
    usage = getattr(reply, "usage", None)
    prompt, completion = getattr(usage, "prompt_tokens", 0), getattr(usage, "completion_tokens", 0)
    return Generation(tuple(filter(None, texts)), Usage(1, _count(prompt), _count(completion)))


def _count(tokens: object) -> int:
    return tokens if isinstance(tokens, int) and tokens > 0 else 0


def _message(error: openai.APIStatusError) -> str:
    # Only the server's own sentence: other parts of the body may repeat the request with its key.
    text = error.body.get("message") if isinstance(error.body, dict) else None
    return str(text or "no reason given")
