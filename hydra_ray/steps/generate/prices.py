"""What calls of the LLM cost, by the prices that settings name."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_ray.records import Usage


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of the LLM; with both 0 nothing is known of costs.

    Attributes:
        price_in: Price of a million prompt tokens.
        price_out: Price of a million completion tokens.
    """

    price_in: float
    price_out: float

    def of(self, usage: Usage) -> float | None:
        """Return what calls and tokens cost, kept answers nothing; None where no price is known."""
        if not (self.price_in or self.price_out):
            return None
        # Tokens of paid and of kept answers are one number.
        paid = usage.calls / (usage.calls + usage.cached) if usage.cached else 1.0
        return (usage.prompt_tokens * self.price_in + usage.completion_tokens * self.price_out) / 1e6 * paid
