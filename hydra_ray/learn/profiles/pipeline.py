"""The Ray Data stage that writes profiles: processes with an LLM and others' histories of their own."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from hydra_ray.data.dataset import User
from hydra_ray.learn.collect.pipeline import GeneratorPool, asking
from hydra_ray.records import HistoryItem, Usage, UserKey
from hydra_ray.runtime.factory import make_peers, make_profile_writer
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import BudgetSpentError, GenerateError
from hydra_ray.steps.generate.failures import Failure
from hydra_ray.steps.generate.metered import CallOutcome, MeteredGenerator
from hydra_ray.steps.profiles.profile import Readable
from hydra_ray.steps.profiles.writer import ProfileWriter
from hydra_ray.store.types import UserProfile
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)

# Rounds of the generator's concurrency in a batch.
_ROUNDS_A_BATCH = 3


@dataclass(frozen=True, slots=True)
class Written:
    """Result of writing one profile.

    Attributes:
        profile: The profile; None where none was written.
        usage: Calls and tokens that it took.
        failure: Why the LLM gave no answer; None where it did.
        stopped: Why nothing more can be asked (a budget is spent); empty where more can.
        read: Items that were compared with others', by when the LLM's answer could be read.
    """

    profile: UserProfile | None = None
    usage: Usage = field(default_factory=Usage)
    failure: Failure | None = None
    stopped: str = ""
    read: Counter[Readable] = field(default_factory=Counter)


class ProfileStage:
    """One writer, with an LLM and others' histories of its own. Batches run side by side on one event loop.

    Args:
        settings: Settings that say how profiles are written.
        task: Task whose answers the histories hold.
        generators: Pool that makes the generator.
        todo: Kinds and users; batches hold places in it.
        others: Histories of the tenant's users that may be read.
    """

    def __init__(
        self, settings: Settings, task: Task, generators: GeneratorPool, todo: ray.ObjectRef, others: ray.ObjectRef
    ) -> None:
        use_given_cpus()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._todo: list[tuple[str, User]] = ray.get(todo)
        users = (User(key, tuple(history)) for key, history in ray.get(others).items())
        pool = make_peers(settings, users)
        self._writer = make_profile_writer(settings, task, generators.make(generators.count), pool.comparable)
        self._stopped = ""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """`profile` (places in the plan) in; the same with what was `written` out."""
        places = batch["profile"].tolist()
        written = asyncio.run_coroutine_threadsafe(self._write_batch(places), self._loop).result()
        # Between two processes of one job, as all that Ray moves.
        return {"profile": places, "written": [pickle.dumps(one) for one in written]}

    async def _write_batch(self, places: list[int]) -> list[Written]:
        return list(await asyncio.gather(*(self._write(*self._todo[place]) for place in places)))

    async def _write(self, kind: str, user: User) -> Written:
        if self._stopped:
            return Written(stopped=self._stopped)
        usage: list[Usage] = []
        read = Counter[Readable]()

        def note(readable: Readable) -> None:
            read[readable] += 1

        def observe(outcome: CallOutcome) -> None:
            # Tokens of the cache's answers were paid for when they were asked.
            used = outcome.usage
            usage.append(used if used.calls else Usage(cached=used.cached))

        tools = replace(
            self._writer.tools, generator=MeteredGenerator(self._writer.tools.generator, observe), note=note
        )
        try:
            profile = await ProfileWriter(tools)(kind, user.key, user.history)
        except BudgetSpentError as error:
            self._stopped = str(error)
            return Written(usage=sum(usage, Usage()), stopped=self._stopped, read=read)
        except GenerateError as error:
            log.warning("a profile of kind %s was not written", kind, exc_info=error)
            return Written(usage=sum(usage, Usage()), failure=Failure.of(error), read=read)
        return Written(profile, sum(usage, Usage()), read=read)


def write_all(
    todo: Sequence[tuple[str, User]],
    others: Mapping[UserKey, Sequence[HistoryItem]],
    settings: Settings,
    task: Task,
    generators: GeneratorPool,
) -> Generator[list[tuple[int, Written]], None, None]:
    """Places in the plan and what became of them, batch by batch as they are written. Wants a running Ray cluster."""
    size = max(1, _ROUNDS_A_BATCH * generators.concurrency // (settings.profile.items + 1))
    # Blocks that are there already: a stage that reads would want a CPU which the others may have taken for good.
    blocks = [pa.table({"profile": range(at, min(at + size, len(todo)))}) for at in range(0, len(todo), size)]
    written = ray.data.from_arrow(blocks).map_batches(
        ProfileStage,
        fn_constructor_args=(settings, task, generators, ray.put(list(todo)), ray.put(dict(others))),
        batch_size=None,
        **asking(generators),
    )
    for batch in written.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield [(row["profile"], pickle.loads(row["written"])) for row in batch.to_pylist()]
