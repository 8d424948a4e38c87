"""The command line: each command reads settings, calls one function and prints what came of it."""

from __future__ import annotations

import io
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hydra_ray import api
from hydra_ray.commands import audit, keys, personalisation, report
from hydra_ray.commands.arguments import Overrides, SettingsFile, load
from hydra_ray.commands.cross_validate import cross_validate
from hydra_ray.commands.ending import plain_errors
from hydra_ray.commands.k8s import k8s_app
from hydra_ray.commands.model import model_app
from hydra_ray.commands.size import size_users
from hydra_ray.commands.store import store_app
from hydra_ray.commands.users import users_app
from hydra_ray.runtime.threads import wait_passively
from hydra_ray.settings import settings_table
from hydra_ray.stopping import stopped_by_signals
from hydra_ray.terminal import TerminalProgress

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Personalises any black-box LLM for every single user, on Ray.\n\n"
    "The usual order is collect, train, fit (or tune, fit), evaluate, serve. Every command takes a settings file "
    "in YAML and key=value overrides, e.g. `hydra-ray collect settings.yaml users=train feedback.max_calls=5000`.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at the users' records.")
app.add_typer(data_app, name="data")
heads_app = typer.Typer(no_args_is_help=True, help="Move users' heads in bulk.")
app.add_typer(heads_app, name="heads")
app.add_typer(store_app, name="store")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.add_typer(users_app, name="users")
app.add_typer(personalisation.app, name="personalisation")
app.add_typer(report.app, name="report")
app.add_typer(model_app, name="model")
app.add_typer(k8s_app, name="k8s")
k8s_app.command("size")(size_users)
app.command("cross-validate")(cross_validate)
console = Console(stderr=False)
progress = TerminalProgress(console)


class Paper(StrEnum):
    """Papers whose comparison can be run."""

    hydra = "hydra"
    dpl = "dpl"
    mof = "mof"


PRESETS = {Paper.hydra: "paper", Paper.dpl: "dpl", Paper.mof: "mof"}

HeadsFolder = Annotated[Path, typer.Argument(help="Folder of the shards.", metavar="FOLDER")]


@app.command()
def demo(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("runs/demo"),
) -> None:
    """Runs the whole flow on simulated users, serves, and asks for two of them the same thing."""
    from hydra_ray.demo import run_demo

    run_demo(out, console, tuple(overrides or ()))


@app.command("settings")
def list_settings(
    below: Annotated[str, typer.Argument(help="Only those of a section, e.g. method.", metavar="[SECTION]")] = "",
) -> None:
    """Lists all settings with their defaults and what they are."""
    console.print(settings_table(below))


@data_app.command("describe")
def describe(settings: SettingsFile, overrides: Overrides = None) -> None:
    """Reads one split and says what is in it: users, dates, texts, answers, and what was left out."""
    from hydra_ray.runtime.describe import describe_data

    console.print(describe_data(load(settings, overrides)))


@app.command()
def doctor(settings: SettingsFile, overrides: Overrides = None) -> None:
    """Asks the LLM a handful of tiny requests: can it be used, and how does it want to be asked?

    What it finds is remembered beside the kept answers. No other command probes: they learn from refusals.
    """
    from hydra_ray.runtime.doctor import check_usable, examine

    found = examine(load(settings, overrides))
    console.print(*found)
    check_usable(found)


@app.command()
def collect(
    settings: SettingsFile,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how much would be asked.")] = False,
) -> None:
    """Asks the LLM what history helps it and what it would answer, for the users that `users` names.

    What is there already is not asked again: a killed collection goes on where it was.
    """
    from hydra_ray.learn.collect.job import estimate_feedback

    tree = load(settings, overrides)
    if dry_run:
        console.print(estimate_feedback(tree).table(tree.generator.limits))
        return
    report = api.collect(tree, progress)
    console.print(f"{report} Feedback: {tree.feedback_dir}", markup=False)
    report.check()


@app.command()
def train(settings: SettingsFile, overrides: Overrides = None) -> None:
    """Trains the shared base, and the heads of the training users with it, on Ray Train."""
    tree = load(settings, overrides)
    report = api.train(tree, progress)
    table = Table("role", "groups", "epoch", "loss", "held back: best on top", "with the shared head alone")
    for epoch in report.epochs:
        valid = [f"{epoch[name]:.3f}" if name in epoch else "-" for name in ("valid_top1", "valid_top1_shared")]
        role, number = epoch["role"], str(int(epoch["epoch"]) + 1)
        table.add_row(role, str(report.groups[role]), number, f"{epoch['loss']:.3f}", *valid)
    console.print(table)
    console.print(f"Base {report.version} of {report.users} users is in {tree.registry_url}; it is the {report.alias}.")
    if report.alias == "candidate":
        console.print("What is served stays. `fit` and `evaluate` work on the candidate; `model promote` serves it.")


@app.command()
def fit(
    settings: SettingsFile,
    overrides: Overrides = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Records replace history and feedback of these users in the store.")
    ] = False,
    undelete: Annotated[
        Path | None,
        typer.Option(help="Take back what was deleted: a file of users, one a line; for an item user, tab, item."),
    ] = None,
) -> None:
    """Fits heads of users that the base has never seen, e.g. users=dev, from history and what they said of answers.

    Records are merged into the histories of the store by the ids of items: what came online stays, and what was deleted
    stays away.
    """
    from hydra_ray.commands.fit import fit_lines

    for line in fit_lines(load(settings, overrides), progress, replace, undelete):
        console.print(line, markup=False)


@app.command()
def tune(
    settings: SettingsFile,
    overrides: Overrides = None,
    search: Annotated[Path, typer.Option(help="What is searched.")] = Path("tune_configs/quick.yaml"),
    asked: Annotated[Path | None, typer.Option(help="Search what the LLM is shown instead, within its calls.")] = None,
) -> None:
    """Searches settings of the fit for each cohort of the chosen users, with Ray Tune; `fit` then uses them.

    A killed search goes on where it was. With --asked, shots and retriever are compared on the LLM itself: what is
    best there you set yourself (method.shots, method.retriever), since feedback has to be collected with it.
    """
    if asked is not None:
        from hydra_ray.learn.tune.prompting import prompt_table, search_prompts

        console.print(prompt_table(search_prompts(load(settings, overrides), asked, progress)))
        return
    from hydra_ray.learn.tune.report import plot_search, tuned_table
    from hydra_ray.learn.tune.space import load_search

    tree = load(settings, overrides)
    roles = api.tune(tree, load_search(search), progress)
    for role, tuned in roles.items():
        console.print(tuned_table(role, tuned))
    for path in plot_search(roles, tree.out):
        console.print(str(path))


@app.command()
def profile(
    settings: SettingsFile,
    overrides: Overrides = None,
    kind: Annotated[list[str] | None, typer.Option(help="pag, dpl; again for another. Default: all.")] = None,
) -> None:
    """Has the LLM write profiles of the users that `users` names, for methods pag and dpl and for method.profile.

    Profiles that are there are kept until history grew by profile.refresh_items or settings changed.
    """
    report = api.write_profiles(load(settings, overrides), kind or None, progress)
    console.print(str(report), markup=False)
    report.check()


@heads_app.command("export")
def export_heads(settings: SettingsFile, folder: HeadsFolder, overrides: Overrides = None) -> None:
    """Writes all users' heads for the trained base as sharded safetensors."""
    from hydra_ray.runtime.head_shards import move_heads

    console.print(move_heads(load(settings, overrides), folder, out=True))


@heads_app.command("import")
def import_heads(settings: SettingsFile, folder: HeadsFolder, overrides: Overrides = None) -> None:
    """Puts exported heads into the store."""
    from hydra_ray.runtime.head_shards import move_heads

    console.print(move_heads(load(settings, overrides), folder, out=False))


@app.command()
def evaluate(settings: SettingsFile, overrides: Overrides = None) -> None:
    """Compares methods over tasks and training seeds; writes results, a report and all answers to `out`.

    With evaluate.tasks, seeds or train_users it first collects, trains and fits what each needs; else it takes the base
    in model.dir. What is there already is not done again: a killed evaluation goes on where it was.
    """
    from hydra_ray.evaluate.reporting.tables import result_tables

    tree = load(settings, overrides)
    console.print(*result_tables(api.evaluate(tree, progress)))
    if tree.evaluate.curves:
        from hydra_ray.evaluate.curves.measure import measure_curves
        from hydra_ray.evaluate.curves.report import curve_tables

        console.print(*curve_tables(measure_curves(tree, progress)))
        console.print(f"{tree.out / 'curves.json'}, {tree.out / 'curves.png'}")
    console.print(f"{tree.out / 'report.html'}, {tree.out / 'results.json'}, {tree.out / 'predictions.jsonl'}")


@app.command()
def reproduce(
    paper: Annotated[Paper, typer.Argument(help="Whose comparison: hydra, dpl or mof.")],
    settings: SettingsFile,
    overrides: Overrides = None,
) -> None:
    """Runs a paper's comparison by its own recipe on your data and LLM, and prints its figures beside yours.

    It collects, trains and fits by that recipe; what your file sets goes over it.
    """
    from hydra_ray.evaluate.reporting.published import beside

    tree = load(settings, [f"preset={PRESETS[paper]}", *(overrides or [])])
    if not (tree.evaluate.tasks or tree.evaluate.seeds):
        # Else the base in model.dir would answer, whatever recipe it was trained by.
        tree = tree.model_copy(update={"evaluate": tree.evaluate.model_copy(update={"seeds": (tree.seed,)})})
    console.print(beside(api.evaluate(tree, progress), paper.value))
    console.print(f"{tree.out / 'report.html'}, {tree.out / 'results.json'}, {tree.out / 'predictions.jsonl'}")


@app.command()
def serve(
    settings: SettingsFile,
    overrides: Overrides = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
) -> None:
    """Serves the trained base behind an OpenAI-compatible endpoint until interrupted.

    On a cluster, deploy a Serve config file instead: `serve deploy deployments/local.yaml`.
    """
    from hydra_ray.serve.local import serve_until_interrupted

    tree = load(settings, overrides)
    with console.status("Starting the deployments") as status:

        def started(url: str) -> None:
            status.stop()
            console.print(f"Serving model {tree.serve.model_name!r} at {url}; Ctrl-C stops it")

        serve_until_interrupted(tree, host, port, started)


def _print_what_terminals_lack() -> None:
    """People's words may be in any script, terminals and pipes of any encoding: what one lacks is printed escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Entry point of `hydra-ray`."""
    # Each command shows progress of its own.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    wait_passively()
    _print_what_terminals_lack()
    with stopped_by_signals(), plain_errors():
        app()
