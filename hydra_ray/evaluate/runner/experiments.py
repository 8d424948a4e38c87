"""The experiments of a comparison: each task under each training seed, with what it needs trained and fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_ray.atomic import write_text
from hydra_ray.fingerprint import fingerprint
from hydra_ray.learn.collect.job import collect_feedback
from hydra_ray.learn.collect.report import CollectReport
from hydra_ray.learn.heads.job import fit_users
from hydra_ray.learn.train.job import train_base
from hydra_ray.progress import ProgressListener
from hydra_ray.records import HydraError
from hydra_ray.runtime.embedding import ranked_by
from hydra_ray.runtime.generators import generator_identity
from hydra_ray.runtime.loading import load_data, records_digest
from hydra_ray.runtime.users.deleted import keep_deleted
from hydra_ray.settings import Settings
from hydra_ray.settings.files.renamed import with_first_names
from hydra_ray.steps.generate.failures import UnfinishedError


@dataclass(frozen=True, slots=True)
class Experiment:
    """One task under one training seed.

    Attributes:
        settings: Settings of this experiment: task, training seed, folders.
        prepared: Whether the evaluation trains its base and fits its heads; else they are where settings say.
        train_users: Number of users that its base is trained on; None is all.
    """

    settings: Settings
    prepared: bool
    train_users: int | None = None

    @property
    def seed(self) -> int:
        """The training seed."""
        own = self.settings.base.seed
        return self.settings.seed if own is None else own

    @property
    def records(self) -> Path:
        """Folder of its methods' run records."""
        return self.settings.out / "dumps"


def experiments(settings: Settings) -> Iterator[Experiment]:
    """Yield the experiments that `evaluate` names; without tasks, seeds and numbers of users, the settings' own.

    All seeds of a task share its feedback and the LLM's answers: only the training differs.

    Raises:
        HydraError: Tasks are named, and the data's format has no tasks of its own.
    """
    wanted = settings.evaluate
    if not (wanted.tasks or wanted.seeds or wanted.train_users):
        yield Experiment(settings, prepared=False)
        return
    if wanted.tasks and settings.data.format != "lamp":
        raise HydraError("evaluate.tasks: only data.format lamp has a folder of tasks; set data.task instead")
    seeds = wanted.seeds or (settings.seed,)
    for task in wanted.tasks or (settings.data.task,):
        for seed in seeds:
            yield _cell(settings, task, seed, None)
        for count in wanted.train_users:
            yield _cell(settings, task, seeds[0], count)


def prepare(experiment: Experiment, listener: ProgressListener) -> None:
    """Collect, train and fit what the experiment lacks; a killed preparation goes on where it was.

    A base that is there is trained anew where settings or training data have changed.

    Raises:
        HydraError: Collecting, training or fitting failed, or the generator's limits were reached.
    """
    settings = experiment.settings
    train = _with(settings, users="train")
    if experiment.train_users is not None:
        train = _with(train, data=_with(train.data, max_users=experiment.train_users))
    wanted, note = _fingerprint_of(train), settings.model_dir / "base_made_of.txt"
    if not note.exists() or note.read_text() != wanted:
        _whole(collect_feedback(train, listener))
        # None while training: what a killed one leaves may be either base.
        note.unlink(missing_ok=True)
        train_base(train, listener)
        write_text(note, wanted)
    # An experiment is about its records: what a former run of it left in its store is none of them.
    # Nobody is served from it, either: encodings would be for nobody.
    serve = _with(settings.serve, store_encodings=False)
    there = _with(settings, users=_fitted_users(settings), serve=serve)
    fitted = fit_users(there, listener, replace_histories=True)
    if fitted.collected is not None:
        _whole(fitted.collected)


def _fingerprint_of(train: Settings) -> str:
    """Digest all that a base depends on: the training users' records, how they are asked about and learnt from."""
    sections: Any = {"seed": True, "base": True, "gate": True, "method": True, "feedback": True}
    # A base decides alike whatever arithmetic it was trained in, however its steps were divided, and wherever its
    # checkpoints were.
    elsewhere: Any = {
        "feedback": {"dir", "labelers", "stop_when_alike"},
        "base": {"encoder": {"precision", "runtime"}, "accumulate": True, "sharded": True, "checkpoints": True},
    }
    how = with_first_names(train.model_dump(mode="json", include=sections, exclude=elsewhere))
    _, dataset = load_data(train, "train")
    records = records_digest(dataset.users, dataset.golds, dataset.rejected)
    return fingerprint(how, ranked_by(train), generator_identity(train), records)


def _whole(report: CollectReport) -> None:
    """Refuse feedback that is not whole: training on some of it would look like training on all.

    Raises:
        UnfinishedError: Collecting ended early.
    """
    if report.stopped:
        raise UnfinishedError(f"{report} Raise generator.limits and start again: what was asked is kept")
    report.check()


def _cell(settings: Settings, task: str, seed: int, train_users: int | None) -> Experiment:
    home = settings.out / task
    out = home / f"seed-{seed}" if train_users is None else home / f"seed-{seed}-users-{train_users}"
    folders: dict[str, Any] = {
        "feedback": _with(settings.feedback, dir=settings.feedback_dir / task),
        "generator": _with(settings.generator, cache=settings.answers_dir),
        "model": _with(settings.model, dir=None, version=None),
        "registry": _with(settings.registry, url=None),
        "store": _with(settings.store, url=None),
    }
    about = {"data": _with(settings.data, task=task), "base": _with(settings.base, seed=seed), "out": out}
    cell = _with(settings, **about, **folders)
    # Its store is its own, but who was deleted stays so.
    keep_deleted(settings, cell)
    return Experiment(cell, True, train_users)


def _fitted_users(settings: Settings) -> str:
    split = settings.data.split
    if split in ("train", "dev"):
        return split
    _, dataset = load_data(settings)
    path = settings.out / "users.txt"
    write_text(path, "".join(f"{user.key.user}\n" for user in dataset.users))
    return str(path)


def _with(section: Any, **changes: Any) -> Any:
    return section.model_copy(update=changes)
