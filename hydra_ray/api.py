"""The jobs as Python functions: what each command runs, for scripts, notebooks and schedulers.

Settings come from `load_settings(path, overrides)` or `parse_settings(tree)` of `hydra_ray.settings`. Each job returns
its report and raises `HydraError` for what its caller can mend. It works on the Ray cluster that this process is
connected to; without one it connects to what `settings.ray` names. Logging is the caller's: `set_up_logging` of
`hydra_ray.logs` sets it up as the commands do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hydra_ray.progress import SILENT, ProgressListener
from hydra_ray.settings import Settings

# Jobs are imported where they are called: torch and Ray take seconds.
if TYPE_CHECKING:
    from hydra_ray.evaluate.crossval.recipes import Recipes
    from hydra_ray.evaluate.crossval.result import Validation
    from hydra_ray.evaluate.results import ComparisonResult
    from hydra_ray.learn.collect.report import CollectReport
    from hydra_ray.learn.heads.job import FitReport
    from hydra_ray.learn.heads.tuned import TunedRole
    from hydra_ray.learn.profiles.job import ProfileReport
    from hydra_ray.learn.promote.job import Promotion
    from hydra_ray.learn.train.job import TrainReport
    from hydra_ray.learn.tune.space import SearchSettings


def collect(settings: Settings, listener: ProgressListener = SILENT) -> CollectReport:
    """Asks the LLM about the users that `users` names, and keeps what it answered in `feedback.dir`.

    What is there already is not asked again.

    Args:
        settings: All of them.
        listener: Shows how far the job is.

    Returns:
        What was asked, answered, refused and left; `check()` raises `UnfinishedError` where something was left.

    Raises:
        HydraError: There is nobody to ask about, or what is in the folder was asked for otherwise.
    """
    from hydra_ray.learn.collect.job import collect_feedback

    return collect_feedback(settings, listener)


def train(settings: Settings, listener: ProgressListener = SILENT) -> TrainReport:
    """Trains the shared base, and the training users' heads with it, on what was collected.

    Args:
        settings: All of them.
        listener: Shows how far the job is.

    Returns:
        The base's version and what each epoch reported.

    Raises:
        HydraError: There is too little feedback, or training failed.
    """
    from hydra_ray.learn.train.job import train_base

    return train_base(settings, listener)


def fit(settings: Settings, listener: ProgressListener = SILENT, replace_histories: bool = False) -> FitReport:
    """Fits heads of the users that `users` names, whom the base need not have seen.

    Args:
        settings: All of them.
        listener: Shows how far the job is.
        replace_histories: Whether records take the place of what the store has of these users, history and feedback
            events; else they are merged into it.

    Returns:
        How many heads were fitted and kept, and what was collected for it.

    Raises:
        HydraError: There is no base, or it was trained for another task.
        UnfinishedError: Calls failed that may succeed later; the next call of `fit` asks just those.
    """
    from hydra_ray.learn.heads.job import fit_users

    return fit_users(settings, listener, replace_histories=replace_histories)


def tune(settings: Settings, search: SearchSettings, listener: ProgressListener = SILENT) -> Mapping[str, TunedRole]:
    """Searches settings of the fit for each cohort of users, with Ray Tune; the next `fit` uses what is found.

    Args:
        settings: All of them.
        search: Space of the search, from `hydra_ray.learn.tune.space.load_search`.
        listener: Shows how far the job is.

    Returns:
        For each role the settings that were found, by cohort.

    Raises:
        HydraError: There is no base, or too few users have feedback.
        UnfinishedError: Calls failed that may succeed later; the next call of `tune` asks just those.
    """
    from hydra_ray.learn.tune.job import tune_users

    return tune_users(settings, search, listener)


def write_profiles(
    settings: Settings, kinds: Sequence[str] | None = None, listener: ProgressListener = SILENT
) -> ProfileReport:
    """Has the LLM write profiles of the users that `users` names; those that are up to date are kept.

    Args:
        settings: All of them.
        kinds: Kinds of profiles; None for all.
        listener: Shows how far the job is.

    Returns:
        What was written, kept and left; `check()` raises `UnfinishedError` where something was left.

    Raises:
        HydraError: There is no such kind.
    """
    from hydra_ray.learn.profiles import job
    from hydra_ray.steps.profiles.writer import KINDS

    return job.write_profiles(settings, listener, tuple(KINDS if kinds is None else kinds))


def evaluate(settings: Settings, listener: ProgressListener = SILENT) -> ComparisonResult:
    """Compares methods over tasks and training seeds, and writes results, a report and all answers to `out`.

    Args:
        settings: All of them.
        listener: Shows how far the job is.

    Returns:
        Scores, intervals, controls and the headline: what `results.json` holds.

    Raises:
        HydraError: Unknown methods, no base, data without answers, or the split that a base was trained on.
        UnfinishedError: Not every query was answered; nothing is scored, and the next call asks just the rest.
    """
    from hydra_ray.evaluate import run

    return run.evaluate(settings, listener)


def cross_validate(settings: Settings, recipes: Recipes, listener: ProgressListener = SILENT) -> Validation:
    """Compares recipes by cross-validation over users of splits train and dev, in this process.

    Args:
        settings: All of them; recipes start from these.
        recipes: What is tried, from `hydra_ray.evaluate.crossval.recipes.load_recipes`.
        listener: Shows how far the job is.

    Returns:
        Scores, controls and paired differences: what `results.json` holds.

    Raises:
        HydraError: Data without answers, or too few users.
        UnfinishedError: Not every query was answered; the next call asks just the rest.
    """
    from hydra_ray.evaluate.crossval import job

    return job.cross_validate(settings, recipes, listener)


def promote(settings: Settings, version: str, listener: ProgressListener = SILENT, *, fit: bool = True) -> Promotion:
    """Makes a version of the base the one that is served, once enough of its users have heads.

    Args:
        settings: All of them, as the service has them.
        version: An alias (`candidate`) or a version.
        listener: Shows how far the fit is.
        fit: Whether heads that are missing are fitted first, from what the store holds.

    Returns:
        What was served before, and how many users keep a head of their own.

    Raises:
        HydraError: There is no such version, too few users have heads, or somebody else promoted at the same moment.
    """
    from hydra_ray.learn.promote.job import promote_version

    return promote_version(settings, version, listener, fit=fit)


def roll_back(settings: Settings, listener: ProgressListener = SILENT, *, fit: bool = True) -> Promotion:
    """Makes the version that was served before the one that is served again, at once; then brings its heads up to date.

    Args:
        settings: All of them, as the service has them.
        listener: Shows how far the fit is.
        fit: Whether heads are fitted then, so that what users said of the other version's answers counts.

    Returns:
        What was served until now, and how many users keep a head of their own.

    Raises:
        HydraError: There is no version before, or it is damaged; or it is served again, and heads could not be fitted.
    """
    from hydra_ray.learn.promote import job

    done = job.roll_back(settings)
    return job.catch_up(settings, done, listener) if fit else done


def serve(settings: Settings, host: str = "127.0.0.1", port: int = 8000) -> AbstractContextManager[str]:
    """Serves the trained base behind an OpenAI-compatible endpoint for as long as the context is open.

    Args:
        settings: All of them.
        host: Address to listen on.
        port: Port to listen on.

    Returns:
        A context manager that gives the base URL that OpenAI clients take.
    """
    from hydra_ray.serve.local import serving

    return serving(settings, host, port)
