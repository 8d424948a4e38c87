"""The deployment class that hosts vLLM; importing it imports vLLM."""

from __future__ import annotations

from typing import Any

from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest


class EngineServer(LLMServer):
    """Speaks plain values, so that callers need no vLLM: dictionaries of OpenAI's chat completions in and out."""

    async def complete(self, payload: dict[str, Any]) -> dict[str, Any]:
        """A whole chat completion; a request that vLLM refuses gives `{"error": {...}}`."""
        request = ChatCompletionRequest(model=self._llm_config.model_id, **payload)
        async for reply in await self.chat(request):
            return reply.model_dump()
        raise RuntimeError("vLLM gave no reply")
