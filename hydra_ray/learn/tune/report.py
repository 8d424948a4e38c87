"""Shows what a search found, as a table and as plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from hydra_ray.learn.heads.tuned import CohortResult, Trial, TunedRole

_KIND = "head.kind"


def tuned_table(role: str, tuned: TunedRole) -> Table:
    """Each cohort's winner against the settings there were, on users whom its search did not see.

    A winner is used where it beats them beyond chance on the users whom the search saw.
    """
    table = Table(
        "cohort",
        "users searched",
        "users judging",
        "default",
        "tuned",
        "gain [95 %]",
        "used",
        "winner",
        title=f"Heads of the {role}: mean held-back score",
        caption="Used: the winner beats the default beyond chance on the users searched; else the cohort is too small "
        "to tell, and takes what is used for everyone, or the default.",
    )
    for name, result in tuned.results.items():
        value, low, high = result.gain
        table.add_row(
            name,
            str(result.users),
            str(result.unseen),
            f"{result.default:.3f}",
            f"{result.tuned:.3f}",
            f"{value:+.3f} [{low:+.3f}, {high:+.3f}]",
            "yes" if result.used else "no",
            ", ".join(f"{key} {_short(value)}" for key, value in result.values.items()),
        )
    return table


def plot_search(roles: Mapping[str, TunedRole], folder: Path) -> list[Path]:
    """One picture a role: for each cohort the scores as the search went, and by kind of head."""
    # Here: it takes a second to import, and most commands draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for role, tuned in roles.items():
        figure = Figure(figsize=(11, 3.2 * len(tuned.results)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(tuned.results), 2, squeeze=False, width_ratios=(2, 1))
        for (name, result), (course, kinds) in zip(tuned.results.items(), axes, strict=True):
            _plot_course(course, name, result)
            _plot_kinds(kinds, result)
        figure.suptitle(f"Search for heads of the {role}")
        path = folder / f"tune-{role}.png"
        figure.savefig(path, dpi=120)
        paths.append(path)
    return paths


def _plot_course(axes, name: str, result: CohortResult) -> None:  # type: ignore[no-untyped-def]
    scores = [trial.score for trial in result.trials]
    best = [max(scores[: place + 1]) for place in range(len(scores))]
    numbers = range(1, len(scores) + 1)
    full = max(trial.epochs for trial in result.trials)
    for ended, marker, label in ((False, "o", "whole fit"), (True, "x", "ended early, or fitted in one step")):
        chosen = [(n, t.score) for n, t in zip(numbers, result.trials, strict=True) if (t.epochs < full) == ended]
        if chosen:
            axes.scatter(*zip(*chosen, strict=True), marker=marker, label=label)
    axes.step(numbers, best, where="post", color="tab:gray", label="best so far")
    axes.axhline(scores[0], linestyle="--", color="tab:red", linewidth=1, label="the first trial: default")
    axes.set(title=f"cohort {name}: {result.users} users", xlabel="trial", ylabel="held-back score")
    axes.legend(fontsize=7)


def _plot_kinds(axes, result: CohortResult) -> None:  # type: ignore[no-untyped-def]
    by_kind: dict[str, list[Trial]] = {}
    for trial in result.trials:
        by_kind.setdefault(str(trial.values.get(_KIND, "default")), []).append(trial)
    names = sorted(by_kind)
    axes.boxplot([[trial.score for trial in by_kind[name]] for name in names], tick_labels=names, widths=0.5)
    axes.set(title="by kind of head", ylabel="held-back score")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
