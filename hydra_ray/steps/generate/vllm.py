"""vLLM where `ray.serve.llm` hosts it, called without HTTP between."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception, stop_after_attempt, wait_random_exponential

from hydra_ray.records import ChatRequest, Generation
from hydra_ray.steps.generate.base import GenerateError
from hydra_ray.steps.generate.endpoint.refusal import read_refusal
from hydra_ray.steps.generate.endpoint.reply import read_reply

log = logging.getLogger(__name__)

# Parameters of OpenAI's that vLLM takes and does nothing with.
_UNKNOWN = frozenset({"verbosity"})

# Takes an OpenAI chat completion request as plain values and gives the reply, or {"error": {...}}; raises
# GenerateError when the engine cannot be reached.
EngineCall = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class VLLMGenerator:
    """Asks the engine; all candidates of a request share one prefill.

    Args:
        ask: Calls the engine.
        tenant: Prompts share cached prefixes only within a tenant.
        salt_key: The server's secret behind the tenants' salts. Empty draws one for this process, so that
            processes do not share prefixes.
        concurrency: Most requests in flight.
        timeout_s: Seconds one attempt may take.
        retries: Further attempts after one that the engine did not answer.
        send_seed: Whether samples are seeded.
        params: Further parameters of each request.
    """

    def __init__(
        self,
        ask: EngineCall,
        tenant: str,
        salt_key: str,
        *,
        concurrency: int,
        timeout_s: float,
        retries: int,
        send_seed: bool,
        params: Mapping[str, Any],
    ) -> None:
        self._ask = ask
        self._salt = cache_salt(salt_key or secrets.token_hex(16), tenant)
        self._timeout_s = timeout_s
        self._retries = retries
        self._send_seed = send_seed
        self._params = dict(params)
        # Forms of request (their fields) that were answered.
        self._answered: set[frozenset[str]] = set()
        self._slots = asyncio.Semaphore(concurrency)

    async def __call__(self, request: ChatRequest) -> Generation:
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self._retries + 1),
            wait=wait_random_exponential(0.5, max=20),
            retry=retry_if_exception(lambda error: isinstance(error, GenerateError) and error.transient),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        return await attempts(self._once, request)

    async def close(self) -> None:
        """Does nothing: the engine lives on, since it is not this object's."""

    async def _once(self, request: ChatRequest) -> Generation:
        payload = self._payload(request)
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout_s):
                    reply = await self._ask(payload)
            except TimeoutError as error:
                raise GenerateError(f"vLLM took more than {self._timeout_s:g} s", "timeout", True) from error
        return self._read(reply, request, frozenset(payload).difference(request.sampling.parameters()))

    def _payload(self, request: ChatRequest) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "n": request.n,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "cache_salt": self._salt,
        }
        if self._send_seed and request.temperature > 0:
            payload["seed"] = request.seed
        wanted = request.sampling.parameters()
        # What a client wants goes before what is set for all.
        return {**payload, **self._params, **{name: value for name, value in wanted.items() if name not in _UNKNOWN}}

    def _read(self, reply: dict[str, Any], request: ChatRequest, form: frozenset[str]) -> Generation:
        if "error" in reply:
            refusal = read_refusal(int(reply["error"].get("code") or 500), json.dumps(reply))
            # Where others of the same form are answered it is this request; else hardly any will be.
            kind = refusal.kind or ("refused" if form in self._answered else "setting")
            raise GenerateError(f"vLLM: {refusal.reason[:300]}", kind, transient=kind in ("server", "busy", "timeout"))
        answer = read_reply(reply)
        if not answer.texts:
            why = next((why for _, why in answer.lost if why), "")
            raise GenerateError(f"vLLM: the reply has no choices with text{f': {why}' if why else ''}", "empty")
        self._answered.add(form)
        ignored = [name for name in request.sampling.parameters() if name in _UNKNOWN]
        if not self._send_seed and request.temperature > 0:
            ignored.append("seed")
        return Generation(answer.texts, answer.usage, answer.finishes, tuple(ignored))


def cache_salt(key: str, tenant: str) -> str:
    """A tenant's salt of vLLM's prefix cache: 64 hexadecimal digits that tell nothing about the tenant."""
    return hmac.new(key.encode(), tenant.encode(), "sha256").hexdigest()
