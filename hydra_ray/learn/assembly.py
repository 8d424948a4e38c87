"""From settings to things: data, generator, prompter, recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hydra_ray.data.lamp import read_lamp
from hydra_ray.data.simulated import simulate
from hydra_ray.data.table import read_records
from hydra_ray.methods import Recipe
from hydra_ray.records import Dataset, HydraError, User
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.generate.cache import CachedGenerator
from hydra_ray.steps.generate.embedded import EmbeddedGenerator
from hydra_ray.steps.generate.openai import OpenAIGenerator
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks import TASKS, Task


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
        dataset = read_records(
            data.path,
            task,
            split,
            queries_per_user=data.queries_per_user,
            dev_share=data.dev_share,
            seed=settings.seed,
            tenant=settings.tenant,
        )
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


def make_generator(settings: Settings) -> Generator:
    """The black-box LLM, behind its cache where one is set."""
    g = settings.generator
    generator: Generator
    if g.backend == "embedded":
        generator = EmbeddedGenerator(g.model, g.dtype, g.concurrency)
    else:
        generator = OpenAIGenerator(
            g.model, g.base_url, g.api_key_env, g.concurrency, g.timeout_s, g.retries, g.send_seed
        )
    return CachedGenerator(generator, g.cache, generator_identity(settings)) if g.cache else generator


def generator_identity(settings: Settings) -> str:
    """What the LLM's answers depend on besides the request."""
    g = settings.generator
    return f"{settings.tenant}|{g.backend}|{g.base_url}|{g.model}|{g.dtype}"


def make_prompter(settings: Settings, task: Task) -> Prompter:
    """How queries of the task are asked."""
    return Prompter(task, settings.method.shot_words, settings.method.max_input_chars)


def make_recipe(settings: Settings) -> Recipe:
    """The numbers of the methods."""
    m = settings.method
    return Recipe(
        m.retrieve, m.shots, m.candidates, m.temperature, m.evidence, m.vote_weight, m.rank_weight, settings.seed
    )


def _described(task: Task, settings: Settings) -> Task:
    data = settings.data
    if data.labels:
        return replace(task, kind="classification", instruction=data.instruction, labels=data.labels, max_tokens=16)
    return replace(task, instruction=data.instruction or task.instruction)


def _sample(users: tuple[User, ...], most: int | None, seed: int) -> tuple[User, ...]:
    if most is None or most >= len(users):
        return users
    drawn = set(sorted(users, key=lambda user: stable_seed(seed, *user.key))[:most])
    return tuple(user for user in users if user in drawn)
