"""From settings to things: data, generator, prompter, recipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import ray

from hydra_ray.data.chat import read_chat
from hydra_ray.data.lamp import read_lamp
from hydra_ray.data.reviews import ReviewFilters, read_reviews
from hydra_ray.data.simulated import simulate
from hydra_ray.data.split import Split
from hydra_ray.data.table import read_records
from hydra_ray.learn.cluster import cores_of_a_node
from hydra_ray.learn.engine import ask_engine
from hydra_ray.learn.feedback import Questions
from hydra_ray.learn.pipeline import Askers
from hydra_ray.methods import Recipe
from hydra_ray.models.base import read_about
from hydra_ray.records import Dataset, HistoryItem, HydraError, PeerItem, User, UserKey
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
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.store.users import UserStore
from hydra_ray.tasks import TASKS, Task

# As `PeerPool.comparable`.
FindComparable = Callable[[UserKey, HistoryItem, int, str | None, float], Sequence[PeerItem]]


def load_data(settings: Settings, split: str | None = None) -> tuple[Task, Dataset]:
    """Task and users of one split, sampled to `data.max_users`.

    Args:
        settings: `data` says where the records are.
        split: None means `data.split`.

    Raises:
        HydraError: The task is unknown or the data is not well-formed.
    """
    data, split = settings.data, split or settings.data.split
    if data.task not in TASKS:
        raise HydraError(f"data.task: there is no task {data.task!r}; there are {', '.join(TASKS)}")
    task = TASKS[data.task]
    if data.format == "lamp":
        if data.dir is None:
            raise HydraError("data.dir: say in which folder LaMP's question files are")
        task, dataset = read_lamp(data.dir, task, split, settings.tenant)
    elif data.format == "records":
        assert data.path is not None, "settings check this"
        task = _described(task, settings)
        dataset = read_records(data.path, task, _split(settings, split))
    elif data.format == "reviews":
        assert data.path is not None, "settings check this"
        assert data.items is not None, "settings check this"
        task = _instructed(TASKS["review"], settings)
        filters = ReviewFilters(**data.reviews.model_dump())
        dataset = read_reviews(data.path, data.items, _split(settings, split), filters)
    elif data.format == "chat":
        assert data.path is not None, "settings check this"
        task = TASKS["chat"]
        dataset = read_chat(data.path, _split(settings, split))
    elif data.format == "store":
        _, task = read_about(settings.model_dir / "base")
        dataset = _stored(settings, task)
    else:
        task = TASKS["demo"]
        users = data.train_users if split == "train" else data.dev_users
        dataset, _ = simulate(
            users=users,
            history=data.history,
            queries=data.queries,
            seed=settings.seed,
            split=split,
            tenant=settings.tenant,
        )
    return task, replace(dataset, users=_sample(dataset.users, data.max_users, settings.seed))


def _stored(settings: Settings, task: Task) -> Dataset:
    """Everybody of the tenant in the store, with history and without queries."""
    store = UserStore(settings.store_url)
    histories = store.histories(settings.tenant)
    store.close()
    if not histories:
        raise HydraError(f"data.format: the store holds no history of tenant {settings.tenant!r}")
    return Dataset(tuple(User(key, tuple(history)) for key, history in histories.items()), pairs=task.pairs)


def chosen_users(settings: Settings) -> tuple[Task, Dataset]:
    """The users that `users` names: those of split train or dev, or those that a file lists.

    Raises:
        HydraError: The file is missing, or names users whom the data does not have.
    """
    if settings.users in ("train", "dev"):
        return load_data(settings, settings.users)
    try:
        wanted = [line.strip() for line in Path(settings.users).read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise HydraError(f"users: {settings.users} is not train, dev or a readable file: {error.strerror}") from None
    task, dataset = load_data(settings)
    found = {user.key.user: user for user in dataset.users}
    absent = [user for user in wanted if user and user not in found]
    if absent:
        raise HydraError(
            f"users: {settings.users} names {len(absent)} user(s) whom split {settings.data.split} lacks: {absent[:5]}"
        )
    return task, replace(dataset, users=tuple(found[user] for user in dict.fromkeys(wanted) if user))


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
    return Prompter(task, settings.method.shot_words, settings.method.max_input_chars)


def make_recipe(settings: Settings) -> Recipe:
    """The numbers of the methods."""
    m = settings.method
    if m.profile:
        check_kind(m.profile, "method.profile")
    return Recipe(
        retriever=m.retriever,
        retrieve=m.retrieve,
        shots=m.shots,
        candidates=m.candidates,
        temperature=m.temperature,
        greedy=m.greedy,
        expected=m.decide == "expected",
        evidence=m.evidence,
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


def _described(task: Task, settings: Settings) -> Task:
    data = settings.data
    if data.labels:
        return replace(task, kind="classification", instruction=data.instruction, labels=data.labels, max_tokens=16)
    return _instructed(task, settings)


def _instructed(task: Task, settings: Settings) -> Task:
    return replace(task, instruction=settings.data.instruction or task.instruction)


def _split(settings: Settings, name: str) -> Split:
    data = settings.data
    return Split(name, data.queries_per_user, data.dev_share, settings.seed, settings.tenant)


def _sample(users: tuple[User, ...], most: int | None, seed: int) -> tuple[User, ...]:
    if most is None or most >= len(users):
        return users
    drawn = set(sorted(users, key=lambda user: stable_seed(seed, *user.key))[:most])
    return tuple(user for user in users if user in drawn)
