"""Finds settings of the fit for each cohort of users with Ray Tune: one Tuner a cohort, on features that are there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import ray
import ray.tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from hydra_ray.bootstrap import Bootstrap, interval
from hydra_ray.data.user_source import HeldUsers
from hydra_ray.fingerprint import fingerprint
from hydra_ray.learn.collect.job import collect_plan
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.examples.features import read_features
from hydra_ray.learn.examples.training_data import TrainingData, load_training_data
from hydra_ray.learn.heads.fitter import fit_options
from hydra_ray.learn.heads.pipeline import encode_shards, encoding, features_file, rows
from hydra_ray.learn.heads.progress import EncodeLines
from hydra_ray.learn.heads.shards import HeldShards, make_shards
from hydra_ray.learn.heads.tuned import (
    FALLBACK,
    PRIOR_WEIGHT,
    CohortResult,
    Trial,
    TunedRole,
    fit_with,
    save_tuned,
    tuned_file,
)
from hydra_ray.learn.tune.cohorts import find_cohorts, searched_cohorts
from hydra_ray.learn.tune.holdout import Holdout
from hydra_ray.learn.tune.space import Parameter, SearchSettings
from hydra_ray.learn.tune.trial_log import TrialLog
from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads import HeadModel
from hydra_ray.progress import ProgressListener
from hydra_ray.records import HydraError, UserKey
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.loading import check_task, chosen_users
from hydra_ray.runtime.models import chosen_base, used_roles
from hydra_ray.runtime.progress import watch
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.settings import FitSettings, Settings
from hydra_ray.steps.seeds import stable_seed

_RESAMPLES = 2000
Users = list[tuple[UserKey, UserFeatures]]


@dataclass(frozen=True, slots=True)
class Cohort:
    """Users of one cohort, and who of them the search does not see."""

    name: str
    users: Users
    seed: int
    share: float

    @property
    def unseen(self) -> list[UserFeatures]:
        """Users on whom the winner is compared; drawn by user, so that one is unseen in every search or in none."""
        drawn = sorted(self.users, key=lambda one: stable_seed(self.seed, "unseen", *one[0]))
        return [features for _, features in drawn[: max(1, round(self.share * len(drawn)))]]

    @property
    def seen(self) -> list[UserFeatures]:
        """Users other than the unseen, on whom trials are compared."""
        drawn = sorted(self.users, key=lambda one: stable_seed(self.seed, "unseen", *one[0]))
        return [features for _, features in drawn[max(1, round(self.share * len(drawn))) :]]


@dataclass(frozen=True, slots=True)
class TrialJob:
    """Data and settings that every trial of a cohort shares.

    Attributes:
        model: Heads of the base, without its encoder.
        holdout: The cohort's users.
        fit: Settings that the values change.
        loss: Name of the loss that the base was trained with.
        default_weight: Weight of the prior where a trial has none of its own.
        epochs: Epochs of the longest fit.
        steps: Steps of an epoch.
    """

    model: HeadModel
    holdout: Holdout
    fit: FitSettings
    loss: str
    default_weight: float
    epochs: int
    steps: int


def run_trial(values: dict[str, Any], job: TrialJob) -> None:
    """One trial: fits all users of the cohort together and reports their score after each epoch."""
    use_given_cpus()
    for progress in course(values, job):
        ray.tune.report(progress)


def course(values: Mapping[str, Any], job: TrialJob) -> Any:
    """Yield a trial's report after each epoch: its score, its best score so far, and the steps that the best took."""
    fit = fit_with(job.fit, {**values, "steps": job.epochs * job.steps, "held_back": 0})
    weight = values.get(PRIOR_WEIGHT, job.default_weight)
    best, steps = -np.inf, 0
    scores = job.holdout.course(job.model, fit.head.kind, fit_options(fit, job.loss), weight, job.steps)
    for epoch, each in enumerate(scores, 1):
        score = float(each.mean())
        if score > best:
            best, steps = score, epoch * job.steps
        yield {"score": score, "best": best, "steps": steps}


def tune_users(settings: Settings, search: SearchSettings, listener: ProgressListener) -> dict[str, TunedRole]:
    """Searches settings for the cohorts of the chosen users, and keeps what was found beside the base.

    A search that was killed goes on where it was. Features are made once for all trials.

    Raises:
        HydraError: There is no base, data or roles do not fit it, or there are too few users.
    """
    # Tune's newer output cannot be turned off; there is a progress bar.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ctrl-C ends the command, not a search that then goes on with what it has.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    chosen = chosen_base(settings)
    base, version, known = chosen.folder, chosen.version, chosen.task
    if not (roles := [role for role in search.roles if role in used_roles(settings, chosen.manifest)]):
        raise HydraError("roles (of the search): heads of the reranker are not used, since method.rerank is false")
    task, dataset = chosen_users(settings)
    check_task(known, task)
    found: dict[str, TunedRole] = {}
    with cluster(settings.ray):
        examples: Sequence[Example] = ()
        if settings.fit.mode == "llm":
            examples, collected = collect_plan(settings, task, HeldUsers(dataset), listener)
            collected.check()
        data = load_training_data(settings, task, dataset, examples)
        storage = (settings.out / "tune").resolve()
        for role in roles:
            users = _features(data, role, base, storage / "features" / version, settings, listener)
            if len(users) < search.cohorts.min_users:
                raise HydraError(
                    f"cohorts.min_users (of the search): {search.cohorts.min_users} users are wanted, and only "
                    f"{len(users)} of users={settings.users} have feedback that teaches the {role}: choose or collect "
                    "more, or lower it"
                )
            found[role] = _tune_role(role, users, base, storage, settings, search, listener)
        save_tuned(tuned_file(settings.model_dir, version), found)
        # Features are the users' data: they stay only for as long as a killed search may want them.
        shutil.rmtree(storage, ignore_errors=True)
    return found


def _features(
    data: TrainingData, role: str, base: Path, folder: Path, settings: Settings, listener: ProgressListener
) -> Users:
    fingerprints = {user.key: data.fingerprint(role, user) for user in data.dataset.users}
    shards = make_shards(role, fingerprints, settings.fit.users_per_shard)
    read = HeldShards(shards, data)
    how = encoding(settings, base, folder)
    with (
        listener.bars() as bar,
        watch(how.progress, EncodeLines(bar, read.sizes).show),
        contextlib.closing(rows(encode_shards(read, how))) as encoded,
    ):
        for _ in encoded:
            pass
    return [one for shard in shards for one in read_features(features_file(folder, shard))]


def _tune_role(
    role: str,
    users: Users,
    base: Path,
    storage: Path,
    settings: Settings,
    search: SearchSettings,
    listener: ProgressListener,
) -> TunedRole:
    cohorts = find_cohorts([features for _, features in users], search.cohorts, settings.seed)
    names = [cohorts.of(features) for _, features in users]
    results: dict[str, CohortResult] = {}
    searched = [FALLBACK, *searched_cohorts(names, search.cohorts)]
    model, weight = HeadModel.load(base / role).cpu(), settings.method.prior_weights[role]
    with listener.bars() as bar:
        line = bar.add_task(f"Searching for the {role}", total=len(searched) * search.trials, note="")
        for number, name in enumerate(searched):
            members = [one for one, own in zip(users, names, strict=True) if name in (FALLBACK, own)]
            cohort = Cohort(name, members, settings.seed, search.unseen)
            holdout = Holdout.of(cohort.seen, search.held_back)
            if not len(holdout) or not len(Holdout.of(cohort.unseen, search.held_back)):
                # Nobody in it has told enough to hold anything back.
                continue
            job = TrialJob(
                model,
                holdout,
                settings.fit,
                settings.base.loss,
                model.prior.item() if weight is None else weight,
                search.epochs,
                search.steps_per_epoch,
            )
            trials = _search(job, cohort, role, storage, settings, search)
            results[name] = judge(job, trials, cohort, search)
            bar.update(line, completed=(number + 1) * search.trials, note=f"cohort {name}: {len(trials)} trials")
    if FALLBACK not in results:
        raise HydraError(f"users: too few of {settings.users} teach the {role} more than one query")
    return TunedRole(cohorts, results)


def _search(
    job: TrialJob, cohort: Cohort, role: str, storage: Path, settings: Settings, search: SearchSettings
) -> list[Trial]:
    """The trials of one cohort. Finished ones are kept under a name of its users and settings: a killed search
    finds them again.
    """
    about = [
        search.model_dump_json(),
        settings.fit.model_dump_json(),
        settings.seed,
        [list(k) for k, _ in cohort.users],
    ]
    name = f"{role}-{cohort.name}-{fingerprint(about)}"
    log = TrialLog(storage / "trials" / name)
    before = log.read()
    if len(before) < search.trials:
        trainable = ray.tune.with_resources(ray.tune.with_parameters(run_trial, job=job), {"cpu": 1})
        now = _values_now(job.fit, job.default_weight, search.space)
        grid = _tuner(trainable, f"{name}-{len(before)}", storage, log, before, now, settings.seed, search).fit()
        if grid.num_errors:
            raise HydraError(f"{grid.num_errors} trial(s) of cohort {cohort.name} failed; the first: {grid.errors[0]}")
    return log.read()


def _tuner(
    trainable: Callable[..., Any],
    name: str,
    storage: Path,
    log: TrialLog,
    before: Sequence[Trial],
    now: dict[str, Any],
    seed: int,
    search: SearchSettings,
) -> ray.tune.Tuner:
    """For the trials that are left. The settings there are now come first, so that a search can only gain."""
    sampler = optuna.samplers.TPESampler(seed=seed + len(before), n_startup_trials=min(10, search.trials // 2))
    space = {path: _distribution(parameter) for path, parameter in search.space.items()}
    first = [] if any(trial.values == now for trial in before) else [now]
    optimizer = OptunaSearch(space, metric="best", mode="max", points_to_evaluate=first, sampler=sampler)
    for trial in before:
        optimizer.add_evaluated_point(trial.values, trial.score)
    return ray.tune.Tuner(
        trainable,
        tune_config=ray.tune.TuneConfig(
            metric="best",
            mode="max",
            num_samples=search.trials - len(before),
            # Without a number there are as many as find room, on nodes that come later, too.
            max_concurrent_trials=search.concurrent,
            search_alg=optimizer,
            scheduler=ASHAScheduler(
                max_t=search.epochs, grace_period=min(search.grace_epochs, search.epochs), reduction_factor=3
            ),
            # A trial is over in seconds: a process for each would take longer to start.
            reuse_actors=True,
        ),
        run_config=ray.tune.RunConfig(
            name=name,
            storage_path=str(storage),
            verbose=0,
            callbacks=[log],
            failure_config=ray.tune.FailureConfig(max_failures=search.max_failures),
        ),
    )


def _distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    if parameter.choice:
        return optuna.distributions.CategoricalDistribution(parameter.choice)
    assert parameter.low is not None
    assert parameter.high is not None
    return optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _values_now(fit: FitSettings, prior_weight: float, space: Mapping[str, Parameter]) -> dict[str, Any]:
    """The settings there are, as far as the space has them."""
    values: dict[str, Any] = {}
    for path, parameter in space.items():
        value: Any = prior_weight
        if path != PRIOR_WEIGHT:
            value = fit.model_dump()
            for part in path.split("."):
                value = value[part]
        if parameter.choice and value not in parameter.choice:
            value = parameter.choice[0]
        if parameter.low is not None and parameter.high is not None:
            value = min(max(value, parameter.low), parameter.high)
        values[path] = value
    return values


def judge(job: TrialJob, trials: Sequence[Trial], cohort: Cohort, search: SearchSettings) -> CohortResult:
    """Compares the winner with the settings there were, on users whom the search did not see."""
    winner = max(trials, key=lambda trial: trial.score)
    unseen = Holdout.of(cohort.unseen, search.held_back)
    default, tuned = (
        {name: _scores(holdout, job, values, steps) for name, holdout in (("seen", job.holdout), ("unseen", unseen))}
        for values, steps in (({}, job.fit.steps), (winner.values, winner.steps))
    )
    _, low, _ = mean_with_interval(tuned["seen"] - default["seen"])
    return CohortResult(
        {**winner.values, "steps": winner.steps},
        low > 0,
        len(job.holdout),
        len(unseen),
        float(default["unseen"].mean()),
        float(tuned["unseen"].mean()),
        mean_with_interval(tuned["unseen"] - default["unseen"]),
        list(trials),
    )


def mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean over users with the ends of its 95 % percentile bootstrap interval."""
    users = Bootstrap(range(len(values)), _RESAMPLES, seed=0)
    means = users.sums(values[:, None].astype(float))[:, 0] / len(values)
    found = interval(means, len(values))
    return found.value, found.low, found.high


def _scores(holdout: Holdout, job: TrialJob, values: Mapping[str, Any], steps: int) -> np.ndarray:
    fit = fit_with(job.fit, {**values, "steps": steps, "held_back": 0})
    weight = values.get(PRIOR_WEIGHT, job.default_weight)
    *_, last = holdout.course(job.model, fit.head.kind, fit_options(fit, job.loss), weight, steps)
    return last.numpy()
