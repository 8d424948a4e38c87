"""Numbers beside a decision's texts: what is known of a candidate that its words do not tell, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hydra_ray.models.lexical import log_share
from hydra_ray.records import Source

# What is known of one decision, by the name that a scorer reads it under.
Beside = Mapping[str, float]


def sources_beside(contest: Sequence[Sequence[Source]]) -> tuple[Beside, ...]:
    """Return what each candidate's sources tell: two numbers for each prompt that gave any of the candidates.

    `votes:PROMPT` is log((v + 0.1) / (V + 0.1)) with v the candidate's votes among the prompt's and V all of the
    prompt's. `greedy:PROMPT` is 1 for the prompt's answer at temperature 0, else 0.

    Args:
        contest: Sources of each candidate that competes for one query.

    Returns:
        Numbers of each candidate; nothing at all where no candidate has a source, as where no LLM was asked.
    """
    if not any(contest):
        return ()
    asked = Counter[str]()
    for sources in contest:
        for source in sources:
            asked[source.prompt] += source.votes
    return tuple(_of_candidate(sources, asked) for sources in contest)


def names_beside(contests: Iterable[Sequence[Beside]]) -> tuple[str, ...]:
    """Return the names of all that is known of any decision, in alphabetical order."""
    return tuple(sorted({name for contest in contests for beside in contest for name in beside}))


def beside_numbers(beside: Sequence[Beside], names: Sequence[str]) -> list[list[float]]:
    """Return each decision's numbers in the order of the names; what is not known is 0, as for all that compete."""
    return [[known.get(name, 0.0) for name in names] for known in beside]


def _of_candidate(sources: Sequence[Source], asked: Mapping[str, int]) -> Beside:
    own = {source.prompt: source for source in sources}
    numbers = dict[str, float]()
    for prompt, all_votes in asked.items():
        source = own.get(prompt)
        numbers[f"votes:{prompt}"] = log_share(source.votes if source else 0, all_votes)
        numbers[f"greedy:{prompt}"] = float(source is not None and source.greedy)
    return numbers
