"""The demo: the whole flow on simulated users, then the same request served for two of them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

from openai import OpenAI
from rich.console import Console
from rich.table import Table

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.data.simulated import Preference, labels_in, simulate
from hydra_ray.evaluate.reporting.tables import result_tables
from hydra_ray.evaluate.run import evaluate
from hydra_ray.learn.collect.job import collect_feedback
from hydra_ray.learn.heads.job import fit_users
from hydra_ray.learn.promote.job import promote_version
from hydra_ray.learn.train.job import train_base
from hydra_ray.logs import set_up_logging
from hydra_ray.models.precision import probe, resolve
from hydra_ray.runtime.cluster import cluster
from hydra_ray.serve.local import serving
from hydra_ray.settings import Settings, load_settings
from hydra_ray.store.aliases import CANDIDATE
from hydra_ray.terminal import TerminalProgress

# Measured on two cores, in both arithmetics: starting processes, asking the LLM and fitting take the same time on any
# processor, about; training and encoding take as long as so many of the probe's layers.
_FIXED_MINUTES = 2.5
_LAYERS = 15_000


@dataclass(frozen=True, slots=True)
class Contrast:
    """A film that two people name differently, and how often their histories say so."""

    text: str
    first: User
    second: User


def demo_settings(out: Path, overrides: tuple[str, ...] = ()) -> Settings:
    """The demo's settings, with everything it makes under `out`."""
    return load_settings(Path(str(files("hydra_ray") / "demo.yaml")), [f"out={out}", *overrides])


def run_demo(out: Path, console: Console, overrides: tuple[str, ...] = ()) -> None:
    """Collects, trains, fits, evaluates and serves; prints the table and two answers with their reasons.

    Args:
        out: Folder for everything that is made.
        console: Where it prints.
        overrides: Single settings that go over the demo's, as `key=value`.
    """
    settings = demo_settings(out, overrides)
    set_up_logging(settings.logging)
    data, progress = settings.data, TerminalProgress(console)
    if not overrides:
        # Of the demo as it is; another one takes another time.
        console.print(expected_time(resolve("auto"), probe("cpu").seconds))
    # One cluster for everything: starting Ray takes seconds.
    with cluster(settings.ray):
        progress.heading("1 Collect: what would the LLM answer?")
        collected = collect_feedback(settings, progress)
        console.print(str(collected), markup=False)
        collected.check()
        progress.heading("2 Train: a shared base, and heads of the training users")
        trained = train_base(settings, progress)
        progress.heading("3 Fit: heads of users the base has never seen, from their history alone")
        fit_users(settings.model_copy(update={"users": "dev"}), progress)
        progress.heading("4 Evaluate: those users' next queries")
        dev = settings.model_copy(update={"data": data.model_copy(update={"split": "dev"})})
        console.print(*result_tables(evaluate(dev, progress)))
        if trained.alias == CANDIDATE:
            # The folder holds a demo that was made before, whose base is served.
            promote_version(settings, trained.version, progress, fit=False)
        progress.heading("5 Serve: the same request of two users")
        dataset, preferences = simulate(
            users=data.dev_users,
            history=data.history,
            queries=data.queries,
            seed=settings.seed,
            split="dev",
            tenant=settings.tenant,
        )
        contrast = find_contrast(dataset, preferences)
        with serving(settings, "127.0.0.1", _free_port()) as url:
            client = OpenAI(base_url=url, api_key="none")
            console.print(f'"{contrast.text}" carries {", ".join(labels_in(contrast.text))}.\n')
            for user in (contrast.first, contrast.second):
                reply = ask(client, settings.serve.model_name, contrast.text, user.key.user)
                console.print(explain(user, preferences[user.key], contrast.text, reply))


def expected_time(precision: str, layer_seconds: Mapping[str, float]) -> str:
    """Say in one sentence how long the demo will take.

    Args:
        precision: Precision that encoders run in.
        layer_seconds: Seconds that one encoder layer takes in each precision, from `Probe.seconds`.
    """
    minutes = _FIXED_MINUTES + _LAYERS * layer_seconds[precision] / 60
    return (
        f"This takes about {round(minutes)} minutes where nothing else is done (encoders run in {precision}); each "
        "step shows the time it has left."
    )


def ask(client: OpenAI, model: str, text: str, user: str) -> dict[str, Any]:
    """One chat completion as plain values, the `hydra` object included."""
    reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], user=user)
    return reply.model_dump()


def find_contrast(dataset: Dataset, preferences: dict[Any, Preference]) -> Contrast:
    """Two people and a film whose name they disagree on, where both histories tell most about why.

    Only what the people did is looked at, never what the system answers.
    """
    best, contrast = -1, None
    for query in (query for user in dataset.users for query in user.queries):
        labels = labels_in(query.input)
        people = [(user, preferences[user.key].choose(labels), _chosen_before(user, labels)) for user in dataset.users]
        for (first, a, seen_a), (second, b, seen_b) in combinations(people, 2):
            chosen = min(seen_a[a], seen_b[b])
            if a != b and chosen > best:
                best, contrast = chosen, Contrast(query.input, first, second)
    assert contrast is not None, "people with random preferences disagree somewhere"
    return contrast


def explain(user: User, preference: Preference, text: str, reply: dict[str, Any]) -> Table:
    """The answer beside its reasons: history shown to the LLM, candidates with scores, the hidden truth."""
    hydra = reply["hydra"]
    labels = labels_in(text)
    hidden = ", ".join(label for label in preference.ranking if label in labels)
    table = Table("", f'{user.key.user} gets: "{reply["choices"][0]["message"]["content"]}"', show_lines=True)
    votes = ", ".join(f"{c['text']} {c['votes']}x (score {c['score']:.2f})" for c in hydra["candidates"])
    table.add_row("candidates with the LLM's votes, best first", votes)
    shown = "\n".join(f"{item['input']} -> {item['output']}" for item in hydra["history"])
    table.add_row("history shown to the LLM", shown)
    chosen = ", ".join(f"{label} {count}x" for label, count in _chosen_before(user, labels).items())
    table.add_row("what this user chose among these before", chosen)
    table.add_row("hidden preference of the simulation", hidden)
    table.add_row("judged by", f"{hydra['head']} head" + (f", without {hydra['degraded']}" * bool(hydra["degraded"])))
    return table


def _chosen_before(user: User, labels: tuple[str, ...]) -> dict[str, int]:
    """Count how often the user chose each of these labels over another one of them."""
    chosen = dict.fromkeys(labels, 0)
    for item in user.history:
        if item.output in chosen and len(set(labels_in(item.input)) & set(labels)) > 1:
            chosen[item.output] += 1
    return chosen


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
