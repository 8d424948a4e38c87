"""Settings of what is told to operators of each request, and to whom."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hydra_ray.records import Usage
from hydra_ray.settings.section import Section


class CostSettings(Section):
    """Prices of the LLM, in whatever currency; null counts no cost."""

    per_million_in: float | None = Field(None, ge=0, description="Price of a million tokens in.")
    per_million_out: float | None = Field(None, ge=0, description="Price of a million tokens out.")

    def of(self, usage: Usage) -> float | None:
        """Return what calls and tokens cost, kept answers nothing; None where no price is known.

        Args:
            usage: Tokens of all calls, those that kept answers spared included.
        """
        if self.per_million_in is None and self.per_million_out is None:
            return None
        price = usage.prompt_tokens * (self.per_million_in or 0) + usage.completion_tokens * (self.per_million_out or 0)
        # Tokens of paid and of kept answers are one number.
        paid = usage.calls / (usage.calls + usage.cached) if usage.cached else 1.0
        return price / 1e6 * paid


class ObserveSettings(Section):
    """What is told of each request that is served: never a text."""

    request_log: bool = Field(True, description="Write a line of JSON for each request on the replica's stderr.")
    user_ids: Literal["none", "hashed"] = Field(
        "none", description="hashed: the request log has a keyed digest of the user's id; none: nothing of it."
    )
    user_key_env: str = Field("HYDRA_LOG_KEY", description="Variable with the key of those digests.")
    cost: CostSettings = CostSettings()
