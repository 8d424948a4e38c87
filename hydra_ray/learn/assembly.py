"""From settings to things: generator, prompter, recipe, peers, profiles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray

from hydra_ray.learn.cluster import cores_of_a_node
from hydra_ray.learn.engine import ask_engine
from hydra_ray.learn.feedback import Questions
from hydra_ray.learn.pipeline import Askers
from hydra_ray.methods import Recipe
from hydra_ray.records import HistoryItem, PeerItem, User, UserKey
from hydra_ray.settings import EndpointSettings, GeneratorSettings, Settings
from hydra_ray.steps.embed import default_embedder
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.generate.cache import AnswerCache, CachedGenerator, tenant_file
from hydra_ray.steps.generate.checkpoints import checkpoint_folder
from hydra_ray.steps.generate.limits import Budget, BudgetedGenerator
from hydra_ray.steps.generate.openai import Endpoint, OpenAIGenerator
from hydra_ray.steps.generate.vllm import VLLMGenerator
from hydra_ray.steps.peers import PeerPool
from hydra_ray.steps.profile import PeerSource, ProfileOptions, ProfileRules, ProfileTools
from hydra_ray.steps.profile_prompts import ProfilePrompts
from hydra_ray.steps.profile_writer import ProfileWriter, check_kind
from hydra_ray.steps.prompt import Prompter
from hydra_ray.tasks import Task

# As `PeerPool.comparable`.
FindComparable = Callable[[UserKey, HistoryItem, int, str | None, float], Sequence[PeerItem]]


def make_generator(settings: Settings, cache: AnswerCache | None = None, *, shared_by: int = 1) -> Generator:
    """The black-box LLM, within its budget and behind a cache where there is one.

    Args:
        settings: `generator` says which.
        cache: Answers already paid for.
        shared_by: Processes that share concurrency, limits and budget evenly.

    Raises:
        HydraError: The model, a key file or the engine cannot be had.
    """
    budget = _budget(settings.generator).share(shared_by)
    generator: Generator = BudgetedGenerator(make_backend(settings, shared_by=shared_by), budget)
    return CachedGenerator(generator, cache, generator_identity(settings)) if cache else generator


def make_backend(settings: Settings, *, shared_by: int = 1, retries: int | None = None) -> Generator:
    """The bare generator: neither cache nor budget.

    Args:
        settings: `generator` says which.
        shared_by: As of `make_generator`.
        retries: None means `generator.retries`.

    Raises:
        HydraError: The model, a key file or the engine cannot be had.
    """
    g = settings.generator
    concurrency = max(1, g.concurrency // shared_by)
    retries = g.retries if retries is None else retries
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
    _budget(generator).share(shared_by)
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


def make_questions(settings: Settings, task: Task) -> Questions:
    """What a collection asks the LLM."""
    return Questions(make_prompter(settings, task), make_recipe(settings), settings.feedback.items)


def asked_with(settings: Settings, task: Task) -> dict[str, Any]:
    """The settings, by path, that feedback depends on: with others it is other feedback."""
    method = (
        *("retriever", "stemmer", "shots", "candidates", "temperature", "greedy", "evidence"),
        *("max_input_chars", "shot_words", "shot_chars"),
    )
    return {
        "data.task": task.name,
        # Not the task's own wording, which LaMP's files have in each split.
        "data.instruction": settings.data.instruction,
        "data.labels": sorted(task.labels),
        "generator.model": settings.generator.model,
        "feedback.items": settings.feedback.items,
        **{f"method.{name}": getattr(settings.method, name) for name in method},
    }


def make_askers(settings: Settings, task: Task) -> Askers:
    """The stage that asks the LLM. Wants a running Ray cluster."""
    cpus, gpus = None, 0
    if settings.generator.backend == "embedded":
        gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
        cpus = 1 if gpus else min(cores_of_a_node(), os.cpu_count() or 1)
    return Askers(
        partial(_make_asking_generator, settings),
        make_questions(settings, task),
        settings.generator.concurrency,
        settings.feedback.askers,
        cpus,
        gpus,
    )


def _make_asking_generator(settings: Settings, shared_by: int) -> Generator:
    return make_generator(settings, open_cache(settings), shared_by=shared_by)


def generator_identity(settings: Settings) -> str:
    """What the LLM's answers depend on besides the request."""
    g = settings.generator
    dtype = g.vllm.dtype if g.backend == "vllm" else g.dtype
    return f"{g.backend}|{g.base_url}|{g.model}|{dtype}"


def _budget(generator: GeneratorSettings) -> Budget:
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
    return PeerPool(histories, default_embedder(), settings.peers.tenants)


def make_profile_rules(settings: Settings, task: Task) -> ProfileRules:
    """What profiles depend on besides histories: `profile`, and `peers` as far as the tenant opted in."""
    p, s = settings.peers, settings.profile
    options = ProfileOptions(
        **s.model_dump(exclude={"prompts"}), prompts=ProfilePrompts(**s.prompts.model_dump()), seed=settings.seed
    )
    others = f"{p.per_item}|{p.floor}" if settings.tenant in p.tenants else None
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

    peers = None if rules.others is None else PeerSource(find, default_embedder())
    return ProfileWriter(ProfileTools(generator, rules, peers))
