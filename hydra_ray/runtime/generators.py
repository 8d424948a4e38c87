"""Makes the LLM from settings: its backend, its cache of answers, its budget, and what is known of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hydra_ray.runtime.factory import make_recipe
from hydra_ray.runtime.vllm_app import RemoteEngine
from hydra_ray.settings import EndpointSettings, GeneratorSettings, Settings
from hydra_ray.steps.candidates import candidate_calls
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.generate.cache import AnswerCache, CachedGenerator, tenant_file
from hydra_ray.steps.generate.checkpoints import checkpoint_folder
from hydra_ray.steps.generate.endpoint.client import OpenAIGenerator
from hydra_ray.steps.generate.endpoint.dialect import Dialect
from hydra_ray.steps.generate.endpoint.dialect_file import DialectFile
from hydra_ray.steps.generate.endpoint.target import Endpoint, place_of
from hydra_ray.steps.generate.limits import Budget, BudgetedGenerator
from hydra_ray.steps.generate.splitting import SplittingGenerator
from hydra_ray.steps.generate.vllm import VLLMGenerator
from hydra_ray.tasks import Task


def make_generator(
    settings: Settings, cache: AnswerCache | None = None, *, shared_by: int = 1, budget: Budget | None = None
) -> Generator:
    """Make the black-box LLM, within its budget and behind a cache where there is one.

    Args:
        settings: Describe the LLM in `generator`.
        cache: Answers already paid for.
        shared_by: Number of processes that share concurrency, limits and budget evenly.
        budget: Budget of this process; None is its share of `generator.limits`.

    Raises:
        HydraError: The model, a key file or the engine cannot be had.
    """
    budget = budget or make_budget(settings.generator).share(shared_by)
    generator = make_backend(settings, shared_by=shared_by, budget=budget, cache=cache)
    return CachedGenerator(generator, cache, generator_identity(settings)) if cache else generator


def make_backend(
    settings: Settings,
    *,
    shared_by: int = 1,
    retries: int | None = None,
    budget: Budget | None = None,
    cache: AnswerCache | None = None,
) -> Generator:
    """Make the generator without a cache of whole requests.

    Args:
        settings: Describe the LLM in `generator`.
        shared_by: Number of processes that share concurrency and limits evenly.
        retries: Most retries of a request; None means `generator.retries`.
        budget: Budget within which each request is asked; None is no limit.
        cache: Keeps parts of requests whose samples are asked for one by one.

    Raises:
        HydraError: The model, a key file or the engine cannot be had.
    """
    g = settings.generator
    concurrency = max(1, g.concurrency // shared_by)
    bare = BACKENDS[g.backend](settings, concurrency, shared_by, g.retries if retries is None else retries)
    generator: Generator = bare if budget is None else BudgetedGenerator(bare, budget)
    if g.backend == "embedded":
        return generator
    most = bare.most_samples if isinstance(bare, OpenAIGenerator) else _any_number
    return SplittingGenerator(generator, most, cache, generator_identity(settings), g.reasoning_tokens)


def _any_number() -> None:
    """Samples of one request."""


def _embedded(settings: Settings, concurrency: int, shared_by: int, retries: int) -> Generator:
    # Imported here: those who ask other LLMs start seconds sooner without torch and transformers.
    from hydra_ray.steps.generate.embedded import EmbeddedGenerator

    return EmbeddedGenerator(settings.generator.model, settings.generator.dtype, concurrency)


def _vllm(settings: Settings, concurrency: int, shared_by: int, retries: int) -> Generator:
    g = settings.generator
    return VLLMGenerator(
        RemoteEngine(g.vllm.app),
        settings.tenant,
        os.environ.get(g.vllm.salt_key_env, ""),
        concurrency=concurrency,
        timeout_s=g.timeout_s,
        retries=retries,
        send_seed=g.send_seed,
        params=g.further_params,
    )


def _openai(settings: Settings, concurrency: int, shared_by: int, retries: int) -> Generator:
    g = settings.generator
    return OpenAIGenerator(
        g.model,
        [Endpoint(e.base_url, e.api_key_env, e.api_key_file, e.model) for e in endpoints(g)],
        concurrency=concurrency,
        timeout_s=g.timeout_s,
        retries=retries,
        send_seed=g.send_seed,
        requests_per_minute=_share(g.limits.requests_per_minute, shared_by),
        tokens_per_minute=_share(g.limits.tokens_per_minute, shared_by),
        params=g.further_params,
        dialect=g.dialect.model_dump(exclude_none=True),
        known=DialectFile(dialect_file(settings)),
    )


# What asks the LLM, by `generator.backend`. Each takes all settings, the requests in flight, the number of processes
# that share the endpoint's limits, and the further attempts after a failed one. It raises `HydraError` where the model,
# a key file or the engine cannot be had.
BACKENDS: dict[str, Callable[[Settings, int, int, int], Generator]] = {
    "embedded": _embedded,
    "openai": _openai,
    "vllm": _vllm,
}


def endpoints(generator: GeneratorSettings) -> list[EndpointSettings]:
    """The endpoint and its fallbacks, in the order in which they are asked."""
    first = EndpointSettings(
        base_url=generator.base_url, api_key_env=generator.api_key_env, api_key_file=generator.api_key_file
    )
    return [first, *generator.fallbacks]


def check_generator(generator: GeneratorSettings, shared_by: int) -> None:
    """Finds out before any process is started whether the generator can be made.

    Raises:
        HydraError: The generator cannot be made: there is no checkpoint, a key file cannot be read, or a budget is too
            small to share.
    """
    make_budget(generator).share(shared_by)
    if generator.backend == "embedded":
        checkpoint_folder(generator.model)
    elif generator.backend == "openai":
        make_backend(Settings(generator=generator))


def local_checkpoint(generator: GeneratorSettings) -> Path | None:
    """The model's folder where it is on this machine."""
    if generator.backend == "openai" or not (generator.model == "demo" or Path(generator.model).is_dir()):
        return None
    return checkpoint_folder(generator.model)


def cache_file(settings: Settings) -> Path:
    """Return the file that keeps the tenant's answers."""
    return tenant_file(settings.answers_dir.resolve(), settings.tenant)


def open_cache(settings: Settings) -> AnswerCache:
    """Open the cache of the tenant's answers already paid for."""
    return AnswerCache(cache_file(settings), settings.generator.cache_max_mb << 20)


def dialect_file(settings: Settings) -> Path:
    """Return the file that keeps endpoints' dialects; it lies beside the answers."""
    return settings.answers_dir.resolve() / "dialects.json"


def known_dialect(settings: Settings) -> Dialect:
    """Return the LLM's dialect as far as settings and earlier commands tell; the LLM is not asked."""
    g = settings.generator
    if g.backend != "openai":
        return Dialect()
    learnt = DialectFile(dialect_file(settings)).get(place_of(g.base_url), g.model) or Dialect()
    return replace(learnt, **g.dialect.model_dump(exclude_none=True))


def calls_for_candidates(settings: Settings, task: Task) -> int:
    """Return how many LLM calls the candidates of one query of a task take in the endpoint's dialect."""
    return candidate_calls(make_recipe(settings).shares(task), known_dialect(settings).requests)


def generator_identity(settings: Settings) -> str:
    """Name what the LLM's answers depend on besides the request."""
    g = settings.generator
    dtype = g.vllm.dtype if g.backend == "vllm" else g.dtype
    more = {"params": g.params, "extra_body": g.extra_body, "reasoning_tokens": g.reasoning_tokens}
    further = {name: value for name, value in more.items() if value}
    # Answers that were kept before there were such settings stay of use.
    return f"{g.backend}|{g.base_url}|{g.model}|{dtype}{f'|{json.dumps(further, sort_keys=True)}' if further else ''}"


def make_budget(generator: GeneratorSettings) -> Budget:
    """Make the budget of one job."""
    limits = generator.limits
    return Budget(limits.calls, limits.tokens, limits.cost, limits.price_in, limits.price_out)


def _share(limit: int | None, shared_by: int) -> int | None:
    return None if limit is None else max(1, limit // shared_by)
