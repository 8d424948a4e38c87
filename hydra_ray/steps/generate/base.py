"""What every generator is to the rest of the system: OpenAI chat completions in and out."""

from __future__ import annotations

from typing import Protocol

from hydra_ray.records import ChatRequest, Generation, HydraError


class GenerateError(HydraError):
    """The generator gave no answer to one request; others are not affected."""


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
