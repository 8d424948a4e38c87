"""The Ray Data pipeline of a collection: one stage writes what is asked, the generator is the next."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from hydra_ray.learn.collect.labeler import Asker, Told
from hydra_ray.learn.collect.plan import Unit
from hydra_ray.learn.collect.requests import Asked, Questions
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.steps import generate

# Batches of units that an asker works on at once: while the last of one are answered the next are asked.
_BATCHES_IN_FLIGHT = 3
# Rounds of the generator's concurrency in a batch: each batch is a Ray task, which costs milliseconds.
_ROUNDS_A_BATCH = 3


@dataclass(frozen=True, slots=True)
class Askers:
    """The stage: processes that ask the LLM.

    Attributes:
        make: Makes the generator in an asker's process; it is told how many askers share its limits.
        questions: What the LLM is asked.
        concurrency: Requests that the generator takes at once.
        count: Processes.
        cpus: Each one's. None: it only waits for others, and stays on this node with the cache's file.
        gpus: Each one's.
    """

    make: Callable[[int], generate.Generator]
    questions: Questions
    concurrency: int
    count: int
    cpus: float | None
    gpus: float

    @property
    def units_per_batch(self) -> int:
        """As many units as keep the generator busy for some rounds."""
        return -(-_ROUNDS_A_BATCH * self.concurrency // (self.questions.items + 2))


class WriteStage:
    """Writes what is asked about units: retrieval and prompts, which take a CPU that the generator may want.

    Args:
        questions: Writes.
        units: The plan; batches hold places in it.
    """

    def __init__(self, questions: Questions, units: ray.ObjectRef) -> None:
        use_given_cpus()
        self._questions = questions
        self._units: list[Unit] = ray.get(units)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """`unit` (places in the plan) in; the same with what is `asked` out."""
        places = batch["unit"].tolist()
        # Between two processes of one job, as all that Ray moves.
        return {"unit": places, "asked": [pickle.dumps(self._questions(self._units[place])) for place in places]}


class AskStage:
    """One asker. Batches run side by side on one event loop.

    Args:
        askers: How to make the generator.
    """

    def __init__(self, askers: Askers) -> None:
        use_given_cpus()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._asker = Asker(askers.make(askers.count), askers.questions.prompter.task)
        self._stopped = ""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """`unit` and `asked` in; `unit` and what was `told`, as JSON, out."""
        asked = [pickle.loads(one) for one in batch["asked"]]
        told = asyncio.run_coroutine_threadsafe(self._ask_batch(asked), self._loop).result()
        return {"unit": batch["unit"].tolist(), "told": [json.dumps(one.to_json()) for one in told]}

    async def _ask_batch(self, asked: list[Asked]) -> list[Told]:
        return list(await asyncio.gather(*(self._ask(one) for one in asked)))

    async def _ask(self, asked: Asked) -> Told:
        if self._stopped:
            return Told(stopped=self._stopped)
        told = await self._asker(asked)
        self._stopped = self._stopped or told.stopped
        return told


def ask_all(units: Sequence[Unit], askers: Askers) -> Generator[tuple[int, Told], None, None]:
    """Places of the units and what they taught, batch by batch as they are answered. Wants a running Ray cluster."""
    if not units:
        return
    size = askers.units_per_batch
    # Blocks that are there already: a stage that reads would want a CPU which the others may have taken for good.
    blocks = [pa.table({"unit": range(at, min(at + size, len(units)))}) for at in range(0, len(units), size)]
    asked = ray.data.from_arrow(blocks).map_batches(
        WriteStage,
        fn_constructor_args=(askers.questions, ray.put(list(units))),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=askers.count),
        # It takes a few percent of one; asking for a share, it might wait for ever beside askers that fill a machine.
        num_cpus=0,
    )
    answered = asked.map_batches(
        AskStage,
        fn_constructor_args=(askers,),
        batch_size=None,
        **asking(askers),
    )
    for batch in answered.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in batch.to_pylist():
            yield row["unit"], Told.from_json(json.loads(row["told"]))


def asking(askers: Askers) -> dict[str, Any]:
    """How Ray Data runs a stage that asks the LLM: as many processes as there are askers, with batches side by side."""
    if askers.cpus is not None:
        place: dict[str, Any] = {"num_cpus": askers.cpus, "num_gpus": askers.gpus}
    else:
        # It waits for the LLM most of the time, and stays beside the file of its cache.
        place = {"num_cpus": 0, "label_selector": {"ray.io/node-id": ray.get_runtime_context().get_node_id()}}
    pool = ray.data.ActorPoolStrategy(
        size=askers.count,
        max_tasks_in_flight_per_actor=2 * _BATCHES_IN_FLIGHT,
        max_concurrent_calls_per_actor=_BATCHES_IN_FLIGHT,
        enable_true_multi_threading=True,
    )
    return {"compute": pool, **place}
