"""`hydra-ray report`: dumps of an evaluation scored again, online experiments compared and sized."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from hydra_ray.commands.arguments import Overrides, SettingsFile, load
from hydra_ray.commands.durations import moment_of
from hydra_ray.records import HydraError, UserKey
from hydra_ray.settings import Settings

if TYPE_CHECKING:
    from hydra_ray.experiment.logged import Logged

# What computes is imported by the command that does, since `--help` should not wait for it.

_SEED = 0


class _AnswersByDefault(TyperGroup):
    """A group whose command is `answers` unless another is named: `hydra-ray report SETTINGS FOLDER` means it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["answers", *args])


app = typer.Typer(
    cls=_AnswersByDefault,
    no_args_is_help=True,
    help="Score answers again (SETTINGS.yaml FOLDER), compare arms of an online experiment, size one.",
)
console = Console(stderr=False, soft_wrap=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command("answers")
def answers(
    settings: SettingsFile,
    dumps: Annotated[Path, typer.Argument(help="Folder of dumps, as evaluate leaves them.", metavar="FOLDER")],
    overrides: Overrides = None,
) -> None:
    """Scores answers that are there already, e.g. somebody else's dumps, and writes what `evaluate` writes; no LLM."""
    from hydra_ray.evaluate.reporting.tables import result_tables
    from hydra_ray.evaluate.run import score
    from hydra_ray.evaluate.runs import read_runs

    tree = load(settings, overrides)
    console.print(*result_tables(score(read_runs(dumps), tree)))
    console.print(f"{tree.out / 'report.html'}, {tree.out / 'results.json'}, {tree.out / 'predictions.jsonl'}")


@app.command("online")
def online(
    settings: SettingsFile,
    overrides: Overrides = None,
    since: Annotated[str | None, typer.Option(help="Only from then on: a date, or 30d; all that is kept.")] = None,
    until: Annotated[str | None, typer.Option(help="Only before: a date, or 1d for a day ago; now.")] = None,
    experiment: Annotated[str | None, typer.Option(help="Name; that of serve.experiment unless given.")] = None,
    against: Annotated[str | None, typer.Option(help="Arm to compare with: the holdout, or else default.")] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="Only this tenant; again for another.")] = None,
    by_cohort: Annotated[bool, typer.Option("--cohort", help="Within cohorts by amount of history, too.")] = False,
    effect: Annotated[float, typer.Option(help="Differences that matter, as a share of the other arm's figure.")] = 0.1,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of users behind each interval.")] = 1000,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page here.")] = None,
) -> None:
    """Compares the arms of an online experiment, from the completion log; look as often as you like."""
    from hydra_ray.experiment.online import online_report
    from hydra_ray.experiment.reporting.page import write_page
    from hydra_ray.experiment.reporting.tables import online_tables

    tree, now = load(settings, overrides), time.time()
    begin = 0.0 if since is None else moment_of(since, now, -1, "--since")
    end = now if until is None else moment_of(until, now, -1, "--until")
    name = experiment or tree.serve.experiment.name
    if not name:
        raise HydraError("serve.experiment has no name: set it, or say which experiment by --experiment")
    if effect <= 0:
        raise HydraError(f"--effect: {effect:g} is no size of a difference; write a share above 0, e.g. 0.1")
    logged, amounts, first = _read(tree, name, list(dict.fromkeys(tenant or tree.served_tenants)), begin, end)
    report = online_report(
        logged,
        amounts,
        against=against,
        since_s=max(begin, first),
        until_s=end,
        effect=effect,
        resamples=resamples,
        seed=_SEED,
        by_cohort=by_cohort,
    )
    if html is not None:
        write_page(html, report)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), allow_nan=False))
        return
    console.print(*online_tables(report))
    if html is not None:
        console.print(str(html), markup=False, highlight=False)


@app.command("sample-size")
def sample_size(
    effect: Annotated[str, typer.Option(help="Difference to find: 0.05, or 10% of the baseline.")],
    baseline: Annotated[float, typer.Option(help="Share, e.g. of accepted answers, or mean without the change.")],
    deviation: Annotated[float | None, typer.Option(help="Of a mean: standard deviation of one answer's.")] = None,
    arm_share: Annotated[float, typer.Option("--share", help="Share of the arm among the users of both.")] = 0.5,
    completions: Annotated[float, typer.Option(help="Answers that a user gets, on average.")] = 1,
    correlation: Annotated[float, typer.Option(help="How alike one user's answers are, 0 to 1.")] = 0.2,
    alpha: Annotated[float, typer.Option(help="Probability of calling no difference one.")] = 0.05,
    power: Annotated[float, typer.Option(help="Probability of finding a difference that is there.")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Says how many users it takes to find a difference, looked at once and looked at any time."""
    from hydra_ray.experiment.sample_size import Design, for_mean, for_share

    size = _difference(effect, baseline)
    design = Design(arm_share, completions, correlation, alpha, power)
    try:
        found = for_share(baseline, size, design) if deviation is None else for_mean(deviation, size, design)
    except ValueError as error:
        raise HydraError(f"--{error}") from None
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(f"A difference of {size:g} is found with a probability of {power:.0%} among")
    for users, how in ((found.fixed, "looked at once, at the end"), (found.sequential, "looked at any time")):
        of_arm = round(users * arm_share)
        typer.echo(f"{users:>10,} users ({of_arm:,} in the arm, {users - of_arm:,} in the other), {how}")


def _read(
    tree: Settings, name: str, tenants: list[str], begin: float, end: float
) -> tuple[Logged, dict[UserKey, int], float]:
    """Completions of the experiment, how much was known of users before it, and when its first one was."""
    from hydra_ray.experiment.logged import Logged
    from hydra_ray.steps.generate.prices import Prices
    from hydra_ray.store.completions.amounts import history_amounts
    from hydra_ray.store.completions.log import CompletionLog
    from hydra_ray.store.schema import open_database

    unknown = [one for one in tenants if one not in tree.served_tenants]
    if unknown:
        raise HydraError(f"--tenant: {unknown[0]!r} is not served; there are {', '.join(tree.served_tenants)}")
    limits = tree.generator.limits
    logged = Logged(name, tree.serve.ratings, Prices(limits.price_in, limits.price_out))
    with closing(open_database(tree.store_target)) as database:
        for tenant in tenants:
            logged.add(CompletionLog(database).between(tenant, begin, end))
        first = end if logged.first_s is None else logged.first_s
        amounts = {key: number for one in tenants for key, number in history_amounts(database, one, first).items()}
    return logged, amounts, first


def _difference(effect: str, baseline: float) -> float:
    text = effect.strip()
    try:
        return float(text[:-1]) / 100 * baseline if text.endswith("%") else float(text)
    except ValueError:
        raise HydraError(f"--effect: {effect!r} is no difference: write 0.05, or 10% of the baseline") from None
