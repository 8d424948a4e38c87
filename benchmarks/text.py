"""Words of any language against what they took the place of: the package `rouge_score`, and bm25s's own words.

Both sides run in turn on the same English texts, where they give the same scores and the same words. With --lamp FOLDER
(a data set in LaMP's format, one folder a task) it shows, too, what the words change there: how many of the ten items
that BM25 finds are the same, and how near the answers of the first four come to the user's own.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import bm25s
import torch
from measuring import Goal, Times, alternating, finish, machine, options
from rich.console import Console
from rich.table import Table
from rouge_score.rouge_scorer import RougeScorer

from hydra_ray.data.lamp import read_lamp
from hydra_ray.records import HistoryItem, Query
from hydra_ray.settings import MethodSettings
from hydra_ray.steps.retrieval.retrievers import lexical, searched_text
from hydra_ray.tasks import TASKS, Task
from hydra_ray.tasks.options import search_text
from hydra_ray.text.rouge import rouge
from hydra_ray.text.search import search_words

# Words of an output by words of a gold answer: a headline's, a review's, and a long answer's beside a book's.
PAIRS = ((12, 12), (120, 120), (512, 2_000), (512, 20_000))
# The library takes half a minute for the longest.
ROUNDS, FEW_ROUNDS, MANY_CELLS = 20, 1, 5_000_000
LAMP = ("LaMP_2M", "LaMP_2N", "LaMP_3", "LaMP_4", "LaMP_5")
STEMMER = MethodSettings().stemmer
FOUND, SHOWN, MOST_QUERIES, MOST_USERS = 10, 4, 250, 60
CPU = torch.device("cpu")

WordsOf = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Changed:
    """What new words change in one task's retrieval.

    Attributes:
        queries: With more history than is found.
        overlap: Share of the ten items found that are the same.
        same_first: Share of queries whose first item is the same.
        score_before: Mean score of the first four items' answers against the user's own, by bm25s's words.
        score_after: The same by ours.
    """

    queries: int
    overlap: float
    same_first: float
    score_before: float
    score_after: float


def made_up(words: int, seed: int) -> str:
    """English-like text of so many words, some of which are frequent."""
    drawn = Random(seed)
    return " ".join(f"w{int(2_000 * drawn.random() ** 3)}" for _ in range(words))


def library_words(text: str) -> list[str]:
    """The words that bm25s takes."""
    return bm25s.tokenize([text], stopwords="en", return_ids=False, show_progress=False)[0]


def time_rouge(pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], dict[str, Times]]:
    """Both sides of each size of texts; what they score is compared first."""
    library = RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
    times = {}
    for said, wanted in pairs:
        output, gold = made_up(said, 1), made_up(wanted, 2)
        long = said * wanted > MANY_CELLS
        if not long:
            told = library.score(gold, output)
            assert rouge(output, gold) == (told["rouge1"].fmeasure, told["rougeL"].fmeasure), "the scores differ"
        sides = {
            "library": lambda output=output, gold=gold: lambda: library.score(gold, output),
            "ours": lambda output=output, gold=gold: lambda: rouge(output, gold),
        }
        times[said, wanted] = alternating(sides, FEW_ROUNDS if long else ROUNDS, CPU, 0 if long else 2)
    return times


def time_words(texts: int) -> dict[str, Times]:
    """Words of so many English texts of 60 words each, by either side."""
    told = [made_up(60, seed) for seed in range(texts)]
    assert [search_words(text, STEMMER) for text in told] == [library_words(text) for text in told], "the words differ"
    sides = {
        "library": lambda: lambda: [library_words(text) for text in told],
        "ours": lambda: lambda: [search_words(text, STEMMER) for text in told],
    }
    return alternating(sides, ROUNDS, CPU)


def compare_retrieval(folder: Path, task: Task) -> Changed:
    """What our words change in the retrieval of a task's dev users."""
    task, data = read_lamp(folder, task, "dev", "default", skip_bad=0)
    users = Random(0).sample(data.users, min(MOST_USERS, len(data.users)))
    asked = [(query, data.history(user, query)) for user in users for query in user.queries]
    asked = [(query, history) for query, history in asked if len(history) > FOUND][:MOST_QUERIES]
    before = [_found(query, history, library_words) for query, history in asked]
    after = [[ranked.item for ranked in lexical(query, history, FOUND, STEMMER)] for query, history in asked]

    def score(found: Sequence[Sequence[HistoryItem]]) -> float:
        golds = (data.golds[query.id] for query, _ in asked)
        return fmean(
            task.score(item.output, gold) for items, gold in zip(found, golds, strict=True) for item in items[:SHOWN]
        )

    ids = [({item.id for item in old}, {item.id for item in new}) for old, new in zip(before, after, strict=True)]
    return Changed(
        len(asked),
        fmean(len(old & new) / FOUND for old, new in ids),
        fmean(old[0].id == new[0].id for old, new in zip(before, after, strict=True)),
        score(before),
        score(after),
    )


def _found(query: Query, history: Sequence[HistoryItem], words_of: WordsOf) -> list[HistoryItem]:
    """The items that BM25 finds by some words, as `steps.retrieve.lexical` orders them."""
    documents, asked = [words_of(searched_text(item)) for item in history], words_of(search_text(query.input))
    scores = [0.0] * len(history)
    if any(documents) and asked:
        index = bm25s.BM25()
        index.index(documents, show_progress=False)
        scores = index.get_scores(asked).tolist()
    newest_first = range(len(history) - 1, -1, -1)
    return [history[i] for i in sorted(newest_first, key=lambda i: -scores[i])[:FOUND]]


def show_times(console: Console, title: str, times: dict[str, dict[str, Times]]) -> None:
    """Medians of both sides, and how many times as fast ours is."""
    table = Table("", "library", "ours", "speed-up", title=title)
    for name, sides in times.items():
        library, ours = sides["library"].median, sides["ours"].median
        table.add_row(name, f"{1e3 * library:.3f} ms", f"{1e3 * ours:.3f} ms", f"{library / ours:.1f}")
    console.print(table)


def show_changes(console: Console, changes: dict[str, Changed]) -> None:
    """A row a task."""
    table = Table("task", "queries", "same of 10", "same first", "score before", "after", title="BM25 by our words")
    for name, one in changes.items():
        shares = (one.overlap, one.same_first, one.score_before, one.score_after)
        table.add_row(name, str(one.queries), *(f"{share:.4f}" for share in shares))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, writes JSON."""
    parser = options(__doc__, "text")
    parser.add_argument("--lamp", type=Path, help="folder of tasks in LaMP's format")
    chosen = parser.parse_args(arguments)
    console = Console()
    about = machine(CPU)
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    by_size = time_rouge(PAIRS[:2] if chosen.small else PAIRS)
    rouges = {f"{said} by {wanted} words": sides for (said, wanted), sides in by_size.items()}
    words = {"60 words": time_words(5 if chosen.small else 200)}
    show_times(console, "ROUGE-1 and ROUGE-L of a pair of texts", rouges)
    show_times(console, "Words of texts", words)
    changes = {}
    if chosen.lamp:
        there = [name for name in LAMP if (chosen.lamp / name).is_dir()]
        changes = {name: compare_retrieval(chosen.lamp / name, TASKS[name]) for name in there}
        show_changes(console, changes)
    result: dict[str, Any] = {
        "machine": about,
        "rouge": {name: _plain(sides) for name, sides in rouges.items()},
        "words": {name: _plain(sides) for name, sides in words.items()},
        "retrieval": {name: asdict(one) for name, one in changes.items()},
    }
    finish(console, chosen.json, "text", result, goals(rouges, words, changes))


def goals(
    rouges: dict[str, dict[str, Times]], words: dict[str, dict[str, Times]], changes: dict[str, Changed]
) -> list[Goal]:
    """What is wanted of either part."""
    longest = list(rouges)[-1]
    wanted = [
        Goal(f"ROUGE of {longest}: speed-up over the library", _speed_up(rouges[longest]), 50, at_least=True),
        Goal("words for BM25: speed-up over the library", _speed_up(words["60 words"]), 1, at_least=True),
    ]
    return wanted + [Goal(f"{name}: same of 10", one.overlap, 0.99, at_least=True) for name, one in changes.items()]


def _speed_up(sides: dict[str, Times]) -> float:
    return sides["library"].median / sides["ours"].median


def _plain(sides: dict[str, Times]) -> dict[str, dict[str, float]]:
    return {side: times.to_json() for side, times in sides.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
