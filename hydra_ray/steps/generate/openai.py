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
            api_key=os.environ.get(api_key_env) or "no-key-set",
            base_url=base_url,
            timeout=timeout_s,
            max_retries=retries,
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
                raise GenerateError(self._clean(f"HTTP {error.status_code}: {_message(error)}")) from error
            except (openai.OpenAIError, ValueError) as error:
                raise GenerateError(self._clean(str(error))) from error
        texts = _texts(reply)
        if not texts:
            raise GenerateError(self._clean("the reply has no choices with text"))
        usage = getattr(reply, "usage", None)
        prompt, completion = getattr(usage, "prompt_tokens", 0), getattr(usage, "completion_tokens", 0)
        return Generation(texts, Usage(1, prompt or 0, completion or 0))

    async def close(self) -> None:
        """Closes the client's connections."""
        await self._client.close()

    def _clean(self, message: str) -> str:
        # Some servers repeat the key that they refuse.
        return f"{self._model}: {message.replace(self._client.api_key, '***')}"


def _texts(reply: object) -> tuple[str, ...]:
    """The texts of a reply; the client does not check that a server's reply has OpenAI's shape."""
    choices = getattr(reply, "choices", None)
    messages = [getattr(choice, "message", None) for choice in choices or ()]
    contents = [getattr(message, "content", None) for message in messages]
    return tuple(text.strip() for text in contents if isinstance(text, str) and text.strip())


def _message(error: openai.APIStatusError) -> str:
    # Only the server's own sentence: other parts of the body may repeat the request with its key.
    body = error.body
    text = body.get("message") if isinstance(body, dict) else None
    return str(text or "no reason given")[:300]
