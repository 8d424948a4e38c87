"""What a profile of differences adds: zero-shot, rag, pag and dpl on simulated people whose habits are known.

The people and the LLM, which follows rules and reads nothing but its prompt, are of `styles.py`. Profiles are written
and told by the same steps as everywhere. `truth` is told a profile of the hidden habits: more no profile can add.
"""

from __future__ import annotations

import asyncio
import logging
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from styles import TASK, TENANT, Habits, RuleLLM, embed, people

from hydra_ray.data.dataset import Dataset
from hydra_ray.evaluate.reporting.files import write_result
from hydra_ray.evaluate.reporting.tables import result_tables
from hydra_ray.evaluate.results import ComparisonResult
from hydra_ray.evaluate.runner.local_steps import LocalSteps
from hydra_ray.evaluate.runner.profiles import ProfileBook
from hydra_ray.evaluate.runs import EvalQuery, Row, RunRecord
from hydra_ray.evaluate.scoring.score import score_runs
from hydra_ray.methods import METHODS
from hydra_ray.records import HistoryItem, PeerItem, UserKey
from hydra_ray.runtime.factory import make_profile_rules, make_prompter, make_recipe
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.profiles.peers import PeerPool
from hydra_ray.steps.profiles.profile import PeerSource, ProfileTools, Readable
from hydra_ray.steps.profiles.writer import ProfileWriter
from hydra_ray.store.types import UserProfile

COMPARED = ("zero-shot", "rag", "pag", "dpl")
TRUTH = "truth"


@dataclass(frozen=True, slots=True)
class Truth:
    """Tells everybody's hidden habits in place of a profile that was written."""

    habits: dict[UserKey, Habits]
    write: ProfileWriter

    async def __call__(
        self, kind: str, user: UserKey, history: Sequence[HistoryItem], asked_at: str | None
    ) -> UserProfile:
        """Return what the best profile could tell."""
        return UserProfile(kind, self.habits[user].described, self.write.fingerprints(kind, history, asked_at))


def settings_of(seed: int) -> Settings:
    """The defaults, with peers."""
    return parse_settings({"seed": seed, "peers": {"tenants": [TENANT]}})


def compare(users: int, seed: int, llm: Generator, methods: Sequence[str] = (*COMPARED, TRUTH)) -> ComparisonResult:
    """Have each method answer everybody's queries, and score them.

    Args:
        users: Number of people.
        seed: Seed of the people.
        llm: LLM that writes profiles and answers.
        methods: Names of methods; `TRUTH` is dpl with profiles of the hidden habits.
    """
    dataset, habits = people(users, seed)
    records = [asyncio.run(_run(method, dataset, habits, settings_of(seed), llm)) for method in methods]
    return score_runs(records, resamples=2000, seed=seed, baselines=(), folds=5)


async def _run(
    method: str, dataset: Dataset, habits: dict[UserKey, Habits], settings: Settings, llm: Generator
) -> RunRecord:
    read = Counter[Readable]()

    def note(readable: Readable) -> None:
        read[readable] += 1

    pool, limits = PeerPool({user.key: user.history for user in dataset.users}, embed, [TENANT]), settings.peers

    def comparable(user: UserKey, item: HistoryItem, before: str | None) -> Sequence[PeerItem]:
        return pool.comparable(user, item, limits.per_item, before, limits.floor)

    rules, recipe = make_profile_rules(settings, TASK), make_recipe(settings)
    write = ProfileWriter(ProfileTools(llm, rules, PeerSource(comparable, embed), note))
    book = Truth(habits, write) if method == TRUTH else ProfileBook(write)
    steps = LocalSteps(dataset, None, None, recipe, limits.similar_users, pool, book, embed)  # type: ignore[arg-type]
    answer = METHODS["dpl" if method == TRUTH else method](steps.ports(llm), make_prompter(settings, TASK), recipe)
    asked = [
        EvalQuery(query, dataset.golds[query.id], len(user.history)) for user in dataset.users for query in user.queries
    ]
    answers = await asyncio.gather(*(answer(one.query, one.query.user) for one in asked))
    rows = tuple(Row(one, found) for one, found in zip(asked, answers, strict=True))
    return RunRecord(TASK, "dev", method, 0, rows, read=dict(read))


def main() -> None:
    """Compares and prints."""
    parser = ArgumentParser(description="What a profile of differences adds on simulated people.")
    parser.add_argument("--users", type=int, default=200, help="number of people")
    parser.add_argument("--seed", type=int, default=0, help="seed of the people")
    parser.add_argument("--prose", action="store_true", help="an LLM that writes no JSON and cannot be held to it")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/profiles"), help="folder of the results")
    wanted = parser.parse_args()
    # The results count what could not be read.
    logging.getLogger("hydra_ray.steps.profiles").setLevel(logging.ERROR)
    result = compare(wanted.users, wanted.seed, RuleLLM(fluent=False, held=not wanted.prose))
    write_result(wanted.out, result)
    console = Console()
    console.print(*result_tables(result))
    (task,) = result.tasks
    for pair in task.pairs:
        one = pair.difference
        console.print(f"{pair.first} over {pair.second}: {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]", markup=False)


if __name__ == "__main__":
    main()
