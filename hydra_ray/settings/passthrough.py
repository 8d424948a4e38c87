"""Settings of requests that go to the LLM as they are."""

from __future__ import annotations

from pydantic import Field

from hydra_ray.settings.section import Section


class PassthroughSettings(Section):
    """What becomes of requests that personal choice cannot serve: tools, images, sound, logprobs."""

    enabled: bool = Field(True, description="Hand them to the LLM untouched; false answers 400 that names the field.")
    tell_history: bool = Field(
        False, description="Tell the LLM the user's history, as data in a system message ahead of theirs."
    )
