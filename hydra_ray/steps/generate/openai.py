"""Any OpenAI-compatible endpoint, through the `openai` client."""

from __future__ import annotations

import asyncio
import os

import openai
from openai import AsyncOpenAI

from hydra_ray.records import ChatRequest, Generation, Usage
from hydra_ray.steps.generate.base import GenerateError


class OpenAIGenerator:
    """Asks an endpoint; the client itself retries with jitter and obeys Retry-After.

    Args:
        model: The endpoint's name of the model.
        base_url: The endpoint; None is the client's default.
        api_key_env: Environment variable that holds the key. Local servers often need none.
        concurrency: Most requests in flight.
        timeout_s: Seconds one attempt may take.
        retries: Further attempts after a failed one.
        send_seed: Whether samples are seeded; not every endpoint takes a seed.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 32,
        timeout_s: float = 60,
        retries: int = 4,
        send_seed: bool = True,
    ) -> None:
        self._model = model
        self._send_seed = send_seed
        self._client = AsyncOpenAI(
            api_key=os.environ.get(api_key_env) or "none", base_url=base_url, timeout=timeout_s, max_retries=retries
        )
        self._slots = asyncio.Semaphore(concurrency)

    async def __call__(self, request: ChatRequest) -> Generation:
        async with self._slots:
            try:
                reply = await self._client.chat.completions.create(
                    model=self._model,
                    messages=[{"role": m.role, "content": m.content} for m in request.messages],  # type: ignore[misc]
                    n=request.n,
                    temperature=request.temperature,
                    max_tokens=request.max_tokens,
                    # A greedy answer needs no seed.
                    seed=request.seed if self._send_seed and request.temperature > 0 else openai.omit,
                )
            except openai.APIStatusError as error:
                raise GenerateError(f"{self._model}: HTTP {error.status_code}: {_message(error)}") from error
            except (openai.OpenAIError, ValueError) as error:
                raise GenerateError(f"{self._model}: {error}") from error
        texts = tuple(choice.message.content.strip() for choice in reply.choices or () if choice.message.content)
        if not texts:
            raise GenerateError(f"{self._model}: the reply has no choices with text")
        usage = reply.usage
        prompt, completion = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        return Generation(texts, Usage(1, prompt, completion))


def _message(error: openai.APIStatusError) -> str:
    # Only the server's own sentence: other parts of the body may repeat the request with its key.
    body = error.body
    text = body.get("message") if isinstance(body, dict) else None
    return str(text or "no reason given")[:300]
