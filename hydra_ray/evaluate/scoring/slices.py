"""Main metric on slices of the queries: by length of history, by cohort, by whether training had the item."""

from __future__ import annotations

from collections.abc import Callable

from hydra_ray.evaluate.results import Slice
from hydra_ray.evaluate.runs import EvalQuery
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard

# Most items of history, and the slice's name.
_LENGTHS = ((0, "0"), (5, "1 to 5"), (20, "6 to 20"), (None, "21 and more"))


def slices_of(scoreboard: Scoreboard) -> tuple[Slice, ...]:
    """Return the main metric on each slice that has queries.

    A query without a cohort, or whose data names no items, is in no slice of that sort.
    """
    found = []
    for by, name_of in _SORTS.items():
        names = [name_of(asked) for asked in scoreboard.aligned.asked]
        for name in sorted(set(filter(None, names)), key=_order):
            items = [place for place, own in enumerate(names) if own == name]
            users = {scoreboard.aligned.asked[place].query.user for place in items}
            found.append(Slice(by, name, len(users), scoreboard.within(items)))
    return tuple(found)


def _history(asked: EvalQuery) -> str:
    return next(name for most, name in _LENGTHS if most is None or asked.history_items <= most)


def _item(asked: EvalQuery) -> str:
    return "" if asked.seen is None else "seen" if asked.seen else "unseen"


def _order(name: str) -> tuple[int, str]:
    lengths = [length for _, length in _LENGTHS]
    return (lengths.index(name) if name in lengths else len(lengths), name)


# The sorts of slices, each with the name of the slice that a query is in, "" for none.
_SORTS: dict[str, Callable[[EvalQuery], str]] = {
    "history": _history,
    "cohort": lambda asked: asked.cohort,
    "item": _item,
}
