"""The Ray Data pipeline of a collection: one stage writes what is asked, the generator is the next."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from hydra_ray.learn.collect.example_plan import ExamplePlan, GoneError
from hydra_ray.learn.collect.labeler import CollectedFeedback, Labeler
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.requests import ExampleRequests, RequestWriter
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.runtime.cluster import on_this_node, on_working_nodes
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.steps import generate

# Batches of examples that a labeler's process works on at once: while the last of one are answered the next are asked.
_BATCHES_IN_FLIGHT = 3
# Rounds of the generator's concurrency in a batch: each batch is a Ray task, which costs milliseconds.
_ROUNDS_A_BATCH = 3
# The driver holds some kilobytes for each block: those of a long plan have several batches. What is killed loses the
# feedback of a few blocks, and no answer.
_MOST_BLOCKS = 10_000


@dataclass(frozen=True, slots=True)
class GeneratorPool:
    """The generator pool: processes that ask the LLM.

    Attributes:
        make: Makes the generator in each process; it takes the number of processes that share its limits.
        questions: Writes the requests of an example.
        concurrency: Requests that the generator takes at once.
        count: Number of processes.
        cpus: CPUs of each process; None where it only waits for others, and stays on this node with the cache's file.
        gpus: GPUs of each process.
    """

    make: Callable[[int], generate.Generator]
    questions: RequestWriter
    concurrency: int
    count: int
    cpus: float | None
    gpus: float

    @property
    def examples_per_batch(self) -> int:
        """Number of examples in a batch: enough to keep the generator busy for some rounds."""
        return -(-_ROUNDS_A_BATCH * self.concurrency // (self.questions.items + 2))


class WriteStage:
    """Writes what is asked about examples: retrieval and prompts, which take a CPU that the generator may want.

    Args:
        questions: Writes the requests of an example.
        examples: The plan; batches hold places in it.
    """

    def __init__(self, questions: RequestWriter, examples: ray.ObjectRef) -> None:
        use_given_cpus()
        self._questions = questions
        self._examples: Sequence[Example] = ray.get(examples)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Takes places in the plan; returns the pickled requests of each, but of those that are gone."""
        examples = (self._example(place) for place in batch["unit"].tolist())
        # Between two processes of one job, as all that Ray moves.
        return {"asked": [pickle.dumps(self._questions(example)) for example in examples if example is not None]}

    def _example(self, place: int) -> Example | None:
        try:
            return self._examples[place]
        except GoneError:
            return None


class LabelStage:
    """One process of the generator pool. Batches run side by side on one event loop.

    Args:
        pool: How to make the generator.
    """

    def __init__(self, pool: GeneratorPool) -> None:
        use_given_cpus()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._labeler = Labeler(pool.make(pool.count), pool.questions.prompter.task)
        self._stopped = ""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Takes pickled requests; returns whose they are with the feedback of each, as JSON."""
        asked = [pickle.loads(one) for one in batch["asked"]]
        feedback = asyncio.run_coroutine_threadsafe(self._ask_batch(asked), self._loop).result()
        keys = [json.dumps(astuple(one.key)) for one in asked]
        return {"key": keys, "told": [json.dumps(one.to_json()) for one in feedback]}

    async def _ask_batch(self, asked: list[ExampleRequests]) -> list[CollectedFeedback]:
        return list(await asyncio.gather(*(self._ask(one) for one in asked)))

    async def _ask(self, asked: ExampleRequests) -> CollectedFeedback:
        if self._stopped:
            return CollectedFeedback(stopped=self._stopped)
        feedback = await self._labeler(asked)
        self._stopped = self._stopped or feedback.stopped
        return feedback


def ask_all(
    examples: Sequence[Example], pool: GeneratorPool
) -> Generator[tuple[ExampleKey, CollectedFeedback], None, None]:
    """Yield examples and the feedback of each, batch by batch as they are answered. Wants a running Ray cluster.

    Those that were deleted meanwhile are not asked about.
    """
    if not examples:
        return
    size, most = pool.examples_per_batch, _MOST_BLOCKS
    # Batches of a block are asked one after the other in one of the calls that go on at once.
    batches = -(-len(examples) // (size * most))
    # Blocks that are there already: a stage that reads would want a CPU which the others may have taken for good.
    blocks = [
        pa.table({"unit": range(at, min(at + batches * size, len(examples)))})
        for at in range(0, len(examples), batches * size)
    ]
    here = isinstance(examples, ExamplePlan) and examples.users.is_here
    asked = ray.data.from_arrow(blocks).map_batches(
        WriteStage,
        fn_constructor_args=(pool.questions, ray.put(examples)),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=pool.count),
        # It takes a few percent of one; asking for a share, it might wait for ever beside labelers that fill a machine.
        num_cpus=0,
        **(on_this_node() if here else on_working_nodes()),
    )
    answered = asked.map_batches(
        LabelStage,
        fn_constructor_args=(pool,),
        batch_size=None if batches == 1 else size,
        **asking(pool),
    )
    for batch in answered.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in batch.to_pylist():
            yield ExampleKey(*json.loads(row["key"])), CollectedFeedback.from_json(json.loads(row["told"]))


def asking(pool: GeneratorPool) -> dict[str, Any]:
    """Return the options of a Ray Data stage that asks the LLM: the pool's processes, with batches side by side."""
    if pool.cpus is not None:
        place: dict[str, Any] = {"num_cpus": pool.cpus, "num_gpus": pool.gpus}
    else:
        # It waits for the LLM most of the time, and stays beside the file of its cache.
        place = {"num_cpus": 0, **on_this_node()}
    strategy = ray.data.ActorPoolStrategy(
        size=pool.count,
        max_tasks_in_flight_per_actor=2 * _BATCHES_IN_FLIGHT,
        max_concurrent_calls_per_actor=_BATCHES_IN_FLIGHT,
        enable_true_multi_threading=True,
    )
    return {"compute": strategy, **place}
