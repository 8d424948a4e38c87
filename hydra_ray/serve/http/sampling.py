"""Parameters of a chat completion request that say how the answer is made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from hydra_ray.records import Sampling, Wishes
from hydra_ray.serve.http.messages import Lenient, Text
from hydra_ray.settings import ServeSettings
from hydra_ray.steps.formats import check_schema

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]

_MOST_STOPS = 4
_MOST_BIASES = 1024
_FORMATS = ("text", "json_object", "json_schema")


class SamplingParameters(Lenient):
    """The part of OpenAI's request that is about sampling.

    Attributes:
        temperature: Temperature of the samples, where `serve.sampling` leaves that to clients.
        top_p: Share of probability that tokens are drawn from.
        n: Answers wanted.
        max_tokens: Most tokens of an answer, by its former name.
        max_completion_tokens: Most tokens of an answer.
        stop: Texts before which an answer ends.
        seed: Number that the method's seed is mixed with.
        frequency_penalty: Amount that each earlier use of a token takes from its logit.
        presence_penalty: Amount that any earlier use of a token takes from its logit.
        logit_bias: Amounts that are added to the logits of tokens, by their ids.
        response_format: Form of the answer: text, or JSON with a schema or without.
        reasoning_effort: Word for how much an LLM that reasons should do so.
        verbosity: Word for how long an answer should be.
    """

    temperature: Number | None = Field(None, ge=0, le=2)
    top_p: Number | None = Field(None, ge=0, le=1)
    n: Whole = Field(1, ge=1, le=128)
    max_tokens: Whole | None = Field(None, ge=1)
    max_completion_tokens: Whole | None = Field(None, ge=1)
    stop: list[Annotated[Text, Field(min_length=1)]] = Field([], max_length=_MOST_STOPS, fail_fast=True)
    seed: Whole | None = Field(None, ge=-(2**63), lt=2**63)
    frequency_penalty: Number | None = Field(None, ge=-2, le=2)
    presence_penalty: Number | None = Field(None, ge=-2, le=2)
    logit_bias: dict[Annotated[str, Field(pattern="^[0-9]{1,9}$")], Annotated[Number, Field(ge=-100, le=100)]] = Field(
        {}, max_length=_MOST_BIASES
    )
    response_format: dict[str, Any] = Field({})
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _as_list(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @field_validator("response_format")
    @classmethod
    def _is_a_format(cls, wanted: dict[str, Any]) -> dict[str, Any]:
        kind = wanted.get("type")
        if kind not in _FORMATS:
            raise PydanticCustomError("value", f"there is no type {kind!r}; there are {', '.join(_FORMATS)}")
        if kind != "json_schema":
            return wanted
        named = wanted.get("json_schema")
        if not isinstance(named, dict) or not isinstance(named.get("name"), str):
            raise PydanticCustomError("value", "json_schema: an object with a name is wanted")
        try:
            # Without a schema any JSON will do.
            check_schema(named.get("schema") or {})
        except ValueError as error:
            raise PydanticCustomError("value", "json_schema.schema: {error}", {"error": f"{error}"}) from None
        return wanted

    def wishes(self, serve: ServeSettings) -> Wishes:
        """Return how the client wants its answer made, as far as the deployment follows it.

        Args:
            serve: Settings that say whose temperature counts, and how long an answer a client may ask for.
        """
        longest = [most for most in (self.max_tokens, self.max_completion_tokens) if most is not None]
        return Wishes(
            self.n,
            self.temperature if serve.sampling == "client" else None,
            min(*longest, serve.max_tokens) if longest else None,
            self.seed,
            Sampling(
                self.top_p,
                self.frequency_penalty,
                self.presence_penalty,
                tuple(self.stop),
                tuple(sorted(self.logit_bias.items())),
                json.dumps(self.response_format, sort_keys=True) if self._wants_json else "",
                self.reasoning_effort or "",
                self.verbosity or "",
            ),
        )

    def without_effect(self, serve: ServeSettings, not_told: Sequence[str]) -> list[str]:
        """Return what of the parameters was sent and changes nothing.

        Args:
            serve: Settings, as for `wishes`.
            not_told: Parameters that the LLM was not told, or does not know.
        """
        sent = [name for name in SamplingParameters.model_fields if name in self.model_fields_set]
        found = [name for name in sent if name in not_told or (name == "temperature" and serve.sampling != "client")]
        return found + [
            f"{name} (above serve.max_tokens, {serve.max_tokens})"
            for name in ("max_tokens", "max_completion_tokens")
            if (getattr(self, name) or 0) > serve.max_tokens
        ]

    @property
    def _wants_json(self) -> bool:
        return self.response_format.get("type", "text") != "text"
