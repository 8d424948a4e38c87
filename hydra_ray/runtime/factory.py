"""From settings to things: generator, prompter, recipe, peers, profiles."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray

from hydra_ray.learn.collect.pipeline import Askers
from hydra_ray.learn.collect.store import Questions
from hydra_ray.logs import set_up_logging
from hydra_ray.methods import Recipe
from hydra_ray.records import HistoryItem, PeerItem, User, UserKey
from hydra_ray.runtime.cluster import cores_of_a_node
from hydra_ray.runtime.embedding import make_embedder, other_encoder, ranked_by
from hydra_ray.runtime.vllm_app import ask_engine
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
from hydra_ray.steps.profiles.peers import PeerPool
from hydra_ray.steps.profiles.profile import PeerSource, ProfileOptions, ProfileRules, ProfileTools
from hydra_ray.steps.profiles.prompts import ProfilePrompts
from hydra_ray.steps.profiles.writer import ProfileWriter, check_kind
from hydra_ray.steps.prompt import Prompter
from hydra_ray.tasks import Task

# As `PeerPool.comparable`.
FindComparable = Callable[[UserKey, HistoryItem, int, str | None, float], Sequence[PeerItem]]


def make_generator(
    settings: Settings, cache: AnswerCache | None = None, *, shared_by: int = 1, budget: Budget | None = None
) -> Generator:
    """The black-box LLM, within its budget and behind a cache where there is one.

    Args:
        settings: `generator` says which.
        cache: Answers already paid for.
        shared_by: Processes that share concurrency, limits and budget evenly.
        budget: What may be spent; None is this process's share of `generator.limits`.

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
    """The generator without a cache of whole requests.

    Args:
        settings: `generator` says which.
        shared_by: As of `make_generator`.
        retries: None means `generator.retries`.
        budget: Within which each request is asked; None is no limit.
        cache: Keeps parts of requests whose samples are asked for one by one.

    Raises:
        HydraError: The model, a key file or the engine cannot be had.
    """
    bare = _bare(settings, shared_by, settings.generator.retries if retries is None else retries)
    generator: Generator = bare if budget is None else BudgetedGenerator(bare, budget)
    if settings.generator.backend == "embedded":
        return generator
    most = bare.most_samples if isinstance(bare, OpenAIGenerator) else _any_number
    room = settings.generator.reasoning_tokens
    return SplittingGenerator(generator, most, cache, generator_identity(settings), room)


def _any_number() -> None:
    """Samples of one request."""


def _bare(settings: Settings, shared_by: int, retries: int) -> Generator:
    """What asks the LLM itself.

    Raises:
        HydraError: The model, a key file or the engine cannot be had.
    """
    g = settings.generator
    concurrency = max(1, g.concurrency // shared_by)
    if g.backend == "embedded":
        # Imported here: those who ask other LLMs start seconds sooner without torch and transformers.
        from hydra_ray.steps.generate.embedded import EmbeddedGenerator

        return EmbeddedGenerator(g.model, g.dtype, concurrency)
    if g.backend == "vllm":
        return VLLMGenerator(
            ask_engine(g.vllm.app),
            settings.tenant,
            os.environ.get(g.vllm.salt_key_env, ""),
            concurrency=concurrency,
            timeout_s=g.timeout_s,
            retries=retries,
            send_seed=g.send_seed,
            params=g.further_params,
        )
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


def endpoints(generator: GeneratorSettings) -> list[EndpointSettings]:
    """The endpoint and its fallbacks, in the order in which they are asked."""
    first = EndpointSettings(
        base_url=generator.base_url, api_key_env=generator.api_key_env, api_key_file=generator.api_key_file
    )
    return [first, *generator.fallbacks]


def check_generator(generator: GeneratorSettings, shared_by: int) -> None:
    """Finds out before any process is started whether the generator can be made.

    Raises:
        HydraError: It cannot: no checkpoint, a key file that cannot be read, a budget too small to share.
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
    """Where the tenant's answers are."""
    return tenant_file(settings.answers_dir.resolve(), settings.tenant)


def open_cache(settings: Settings) -> AnswerCache:
    """The tenant's answers already paid for."""
    return AnswerCache(cache_file(settings), settings.generator.cache_max_mb << 20)


def dialect_file(settings: Settings) -> Path:
    """Where what was learnt of endpoints' dialects is kept: beside the answers."""
    return settings.answers_dir.resolve() / "dialects.json"


def known_dialect(settings: Settings) -> Dialect:
    """How the LLM is asked, as far as settings and earlier commands tell; nobody is asked."""
    g = settings.generator
    if g.backend != "openai":
        return Dialect()
    learnt = DialectFile(dialect_file(settings)).get(place_of(g.base_url), g.model) or Dialect()
    return replace(learnt, **g.dialect.model_dump(exclude_none=True))


def calls_for_candidates(settings: Settings) -> int:
    """LLM calls that the candidates of one query take in the endpoint's dialect."""
    return candidate_calls(settings.method.candidates, settings.method.greedy, known_dialect(settings).requests)


def make_questions(settings: Settings, task: Task) -> Questions:
    """What a collection asks the LLM."""
    recipe, items = make_recipe(settings), settings.feedback.items
    return Questions(make_prompter(settings, task), recipe, items, make_embedder(settings))


def asked_with(settings: Settings, task: Task) -> dict[str, Any]:
    """The settings, by path, that feedback depends on: with others it is other feedback."""
    method = (
        *("stemmer", "shots", "candidates", "temperature", "greedy", "evidence"),
        *("max_input_chars", "shot_words", "shot_chars"),
    )
    return {
        "data.task": task.name,
        # Not the task's own wording, which LaMP's files have in each split.
        "data.instruction": settings.data.instruction,
        "data.labels": sorted(task.labels),
        "generator.model": settings.generator.model,
        # None where nothing is set, as feedback of earlier versions has it.
        "generator.params": settings.generator.further_params or None,
        "feedback.items": settings.feedback.items,
        "method.retriever": ranked_by(settings),
        **{f"method.{name}": getattr(settings.method, name) for name in method},
    }


def make_askers(settings: Settings, task: Task) -> Askers:
    """The stage that asks the LLM. Wants a running Ray cluster."""
    cpus, gpus = None, 0
    if settings.generator.backend == "embedded":
        gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
        cpus = 1 if gpus else min(cores_of_a_node(), os.cpu_count() or 1)
    return Askers(
        partial(_make_asking_generator, settings.anchored()),
        make_questions(settings, task),
        settings.generator.concurrency,
        settings.feedback.askers,
        cpus,
        gpus,
    )


def _make_asking_generator(settings: Settings, shared_by: int) -> Generator:
    # The first thing that is made in an asker's process.
    set_up_logging(settings.logging)
    return make_generator(settings, open_cache(settings), shared_by=shared_by)


def generator_identity(settings: Settings) -> str:
    """What the LLM's answers depend on besides the request."""
    g = settings.generator
    dtype = g.vllm.dtype if g.backend == "vllm" else g.dtype
    more = {"params": g.params, "extra_body": g.extra_body, "reasoning_tokens": g.reasoning_tokens}
    told = {name: value for name, value in more.items() if value}
    # Answers that were kept before there were such settings stay of use.
    return f"{g.backend}|{g.base_url}|{g.model}|{dtype}{f'|{json.dumps(told, sort_keys=True)}' if told else ''}"


def make_budget(generator: GeneratorSettings) -> Budget:
    """What one job may spend."""
    limits = generator.limits
    return Budget(limits.calls, limits.tokens, limits.cost, limits.price_in, limits.price_out)


def _share(limit: int | None, shared_by: int) -> int | None:
    return None if limit is None else max(1, limit // shared_by)


def make_prompter(settings: Settings, task: Task) -> Prompter:
    """How queries of the task are asked."""
    m = settings.method
    return Prompter(task, m.shot_words, m.max_input_chars, m.shot_chars)


def make_recipe(settings: Settings) -> Recipe:
    """The numbers of the methods."""
    m = settings.method
    if m.profile:
        check_kind(m.profile, "method.profile")
    return Recipe(
        retriever=m.retriever,
        stemmer=m.stemmer,
        retrieve=m.retrieve,
        shots=m.shots,
        candidates=m.candidates,
        temperature=m.temperature,
        greedy=m.greedy,
        expected=m.decide == "expected",
        evidence=m.evidence,
        allowed_answers=m.allowed_answers,
        vote_weight=m.vote_weight,
        rank_weight=m.rank_weight,
        profile=m.profile,
        told=settings.profile.prompts.told,
        seed=settings.seed,
    )


def make_peers(settings: Settings, users: Iterable[User]) -> PeerPool:
    """Others' histories as tenants opted in to share; nothing is encoded before somebody asks.

    Args:
        settings: `peers` says which tenants.
        users: Who may be told of, those who ask among them or not.
    """
    histories = {user.key: user.history for user in users}
    return PeerPool(histories, make_embedder(settings), settings.peers.tenants)


def make_profile_rules(settings: Settings, task: Task) -> ProfileRules:
    """What profiles depend on besides histories: `profile`, and `peers` as far as the tenant opted in."""
    p, s = settings.peers, settings.profile
    options = ProfileOptions(
        **s.model_dump(exclude={"prompts"}), prompts=ProfilePrompts(**s.prompts.model_dump()), seed=settings.seed
    )
    other = other_encoder(settings)
    found = f"{p.per_item}|{p.floor}|{other}" if other else f"{p.per_item}|{p.floor}"
    others = found if settings.tenant in p.tenants else None
    return ProfileRules(task, options, others)


def make_profile_writer(
    settings: Settings, task: Task, generator: Generator, comparable: FindComparable
) -> ProfileWriter:
    """Writes profiles as settings say.

    Args:
        settings: As of `make_profile_rules`.
        task: Whose answers the histories hold.
        generator: Writes.
        comparable: As `PeerPool.comparable`; never called for a tenant that did not opt in.
    """
    rules, p = make_profile_rules(settings, task), settings.peers

    def find(user: UserKey, item: HistoryItem, before: str | None) -> Sequence[PeerItem]:
        return comparable(user, item, p.per_item, before, p.floor)

    peers = None if rules.others is None else PeerSource(find, make_embedder(settings))
    return ProfileWriter(ProfileTools(generator, rules, peers))
