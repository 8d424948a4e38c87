"""Settings of the black-box LLM: where it is, what it may cost, and how vLLM hosts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from hydra_ray.settings.section import Section


class EndpointSettings(Section):
    """One OpenAI-compatible endpoint and where its key is."""

    base_url: str | None = Field(None, description="E.g. https://llm.example.com/v1; null is OpenAI's own.")
    api_key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the key.")
    api_key_file: Path | None = Field(None, description="File that holds the key (a mounted secret); goes first.")
    model: str | None = Field(None, description="The endpoint's name of the model; null is generator.model.")


class LimitSettings(Section):
    """Limits of the endpoint, and of what one job may spend: one collection, or one experiment's answers."""

    requests_per_minute: int | None = Field(None, ge=1, description="All attempts together.")
    tokens_per_minute: int | None = Field(None, ge=1, description="In and out together.")
    calls: int | None = Field(None, ge=0, description="Most requests that one job may make.")
    tokens: int | None = Field(None, ge=0, description="Most tokens, in and out together, that one job may use.")
    cost: float | None = Field(None, ge=0, description="Most that one job may cost, in the currency of the prices.")
    price_in: float = Field(0, ge=0, description="Of a million prompt tokens.")
    price_out: float = Field(0, ge=0, description="Of a million completion tokens.")

    @model_validator(mode="after")
    def _cost_needs_prices(self) -> LimitSettings:
        if self.cost is not None and not (self.price_in or self.price_out):
            raise ValueError("cost is counted with price_in and price_out: set at least one")
        return self


class DialectSettings(Section):
    """Form in which endpoints are asked; null finds it out at the first refusal."""

    samples: int | None = Field(None, ge=1, description="Most samples (n) of one request; 1 where n is not taken.")
    max_tokens: Literal["max_tokens", "max_completion_tokens"] | None = Field(
        None, description="What the longest answer is called."
    )
    temperature: Literal["sent", "positive", "omitted"] | None = Field(
        None, description="positive sends a small one for zero; omitted leaves it to the endpoint."
    )
    system: Literal["sent", "first", "user"] | None = Field(
        None, description="System messages as they are, as one at the beginning, or in the user's first message."
    )
    developer: bool | None = Field(None, description="false sends role developer as system.")
    alternate: bool | None = Field(None, description="true lets user and assistant take turns, the user first.")
    streams: Literal["usage", "plain", "whole"] | None = Field(
        None, description="Streams with usage at their end or without, or whole answers where none are taken."
    )
    json_by: Literal["schema", "object", "words"] | None = Field(
        None, description="Answers that have to be JSON: held to its schema, to any JSON object, or asked for in words."
    )


# What hydra-ray sets itself, or could not do without.
_RESERVED = frozenset(
    {"model", "messages", "n", "temperature", "max_tokens", "max_completion_tokens", "seed", "stream"}
    | {"stream_options", "best_of", "cache_salt"}
)


class VLLMSettings(Section):
    """vLLM as `ray.serve.llm` hosts it, an application of its own."""

    app: str = Field("llm", description="Name of its Serve application.")
    device: Literal["auto", "gpu", "cpu"] = Field("auto", description="auto: GPUs where the cluster has any.")
    accelerator: str | None = Field(None, description="Ray's name of the GPU to ask for, e.g. L4, A100-80G, H100.")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that share each layer.")
    pipeline_parallel: int = Field(1, ge=1, description="Groups of GPUs that share the layers.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="Of weights and arithmetic; auto: the checkpoint's on GPUs, on CPUs what they are fastest at.",
    )
    max_model_len: int | None = Field(
        None, ge=1, description="Longest prompt and answer, in tokens; null: the model's."
    )
    kv_cache_gib: float | None = Field(
        None, gt=0, description="KV cache a replica; null: what the GPU has left, 1 on CPU."
    )
    prefix_caching: bool = Field(True, description="Prompts that begin alike are computed once.")
    min_replicas: int = Field(1, ge=0, description="Engines that are kept; 0 lets all go when idle.")
    max_replicas: int = Field(1, ge=1, description="Most engines.")
    target_ongoing_requests: int = Field(32, ge=1, description="Requests a replica at which replicas are added.")
    max_ongoing_requests: int = Field(64, ge=1, description="Requests that a replica works on at once.")
    max_queued_requests: int = Field(256, ge=-1, description="Requests that wait per caller; more are refused (429).")
    salt_key_env: str = Field("HYDRA_SALT_KEY", description="Variable with the secret behind tenants' cache salts.")
    engine: dict[str, Any] = Field({}, description="Further arguments of vLLM's engine, as vLLM names them.")

    @model_validator(mode="after")
    def _replicas_make_a_range(self) -> VLLMSettings:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is more than max_replicas ({self.max_replicas})")
        return self


class GeneratorSettings(EndpointSettings):
    """The black-box LLM."""

    backend: Literal["embedded", "openai", "vllm"] = Field(
        "embedded",
        description="embedded runs in this process, openai is any compatible endpoint, vllm is hosted by Serve.",
    )
    model: str = Field("demo", description="demo, a local checkpoint's path, or a name that the endpoint or hub knows.")
    fallbacks: tuple[EndpointSettings, ...] = Field((), description="For openai: asked in turn while others fail.")
    concurrency: int = Field(32, ge=1, description="Requests in flight, and the largest embedded batch.")
    timeout_s: float = Field(60, gt=0, description="Seconds one attempt may take, from request to last byte.")
    retries: int = Field(4, ge=0, description="Further attempts after a failed one; embedded needs none.")
    max_failure_share: float = Field(
        0.5, ge=0, le=1, description="Share of the latest requests that may fail before a command stops; 1: any."
    )
    send_seed: bool = Field(True, description="Seed the samples; where the endpoint refuses, that is found out.")
    params: dict[str, Any] = Field({}, description="OpenAI's further parameters, e.g. top_p, reasoning_effort.")
    extra_body: dict[str, Any] = Field({}, description="Further fields of each request that only this endpoint knows.")
    reasoning_tokens: int = Field(
        0, ge=0, description="Room for reasoning, on top of each answer's max_tokens: reasoning counts as output."
    )
    dialect: DialectSettings = DialectSettings()
    limits: LimitSettings = LimitSettings()
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="For embedded: weights and arithmetic.")
    vllm: VLLMSettings = VLLMSettings()
    cache: Path | None = Field(
        None,
        description="Folder of answers already paid for, a file a tenant; null: offline commands use <out>/answers.",
    )
    cache_max_mb: int = Field(4096, ge=1, description="Size at which the answers used longest ago are dropped.")

    @model_validator(mode="after")
    def _paces_and_fallbacks_are_of_endpoints(self) -> GeneratorSettings:
        limits = self.limits
        if self.backend != "openai" and (limits.requests_per_minute or limits.tokens_per_minute or self.fallbacks):
            raise ValueError("limits a minute and fallbacks are for backend openai")
        return self

    @model_validator(mode="after")
    def _parameters_are_the_endpoints(self) -> GeneratorSettings:
        for name, given in (("params", self.params), ("extra_body", self.extra_body)):
            if given and self.backend == "embedded":
                raise ValueError(f"{name} is for backends openai and vllm")
            if reserved := sorted(_RESERVED & given.keys()):
                raise ValueError(
                    f"{name}: {', '.join(reserved)} cannot be set here: hydra-ray sets it by other settings"
                )
        if both := sorted(self.params.keys() & self.extra_body.keys()):
            raise ValueError(f"{', '.join(both)} is in both params and extra_body")
        if self.reasoning_tokens and self.backend == "embedded":
            raise ValueError("reasoning_tokens is for backends openai and vllm")
        return self

    @property
    def further_params(self) -> dict[str, Any]:
        """All that is sent with each request beside what hydra-ray sets itself."""
        return {**self.params, **self.extra_body}
