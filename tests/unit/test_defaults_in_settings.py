"""There is one set of defaults, in settings: what is made from them leaves nothing out, so that tests test it too."""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import BaseModel

from hydra_ray import cli
from hydra_ray.commands import k8s, keys, personalisation, report
from hydra_ray.commands import store as store_commands
from hydra_ray.data.dataset import User
from hydra_ray.data.demo_generator.train import measure
from hydra_ray.data.fields import Fields
from hydra_ray.evaluate.crossval.recipes import RecipeSettings, RecipesFile, TriedPromptSettings
from hydra_ray.evaluate.runner.experiments import Experiment
from hydra_ray.evaluate.runner.local_steps import LocalSteps
from hydra_ray.evaluate.runs import RunRecord
from hydra_ray.experiment.logged import Logged
from hydra_ray.k8s.check.content.serve_keys import unknown_keys
from hydra_ray.k8s.check.schema.cel import broken_rules
from hydra_ray.k8s.check.schema.reduce import differences
from hydra_ray.learn.base.progress import TrainState
from hydra_ray.learn.base.worker import _Resumed
from hydra_ray.learn.collect.estimate import Estimate
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.learn.heads.fitter import FittedHead
from hydra_ray.learn.profiles.pipeline import Written
from hydra_ray.learn.tune.prompting import PromptSearch
from hydra_ray.learn.tune.space import SearchSettings
from hydra_ray.methods.answering import ask
from hydra_ray.methods.collaborative import Collaborative
from hydra_ray.methods.hydra import Hydra
from hydra_ray.methods.ports import Ports
from hydra_ray.methods.prompted import Prompted
from hydra_ray.models.features import pad
from hydra_ray.models.precision import probe, resolve
from hydra_ray.records import Answer, ChatRequest, Usage, Wishes
from hydra_ray.runtime.doctor import _Probe
from hydra_ray.runtime.generators import make_backend, make_generator
from hydra_ray.runtime.loading import load_data
from hydra_ray.serve.admin import WantedKey
from hydra_ray.serve.feedback.body import CompletionFeedback
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.requests import HydraOptions
from hydra_ray.serve.http.sampling import SamplingParameters
from hydra_ray.serve.limits.quotas import _Counter
from hydra_ray.serve.observe.trace import RequestTrace
from hydra_ray.serve.users import Feedback
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import Adapter, AdaptRequest
from hydra_ray.steps.generate.base import GenerateError, RephraseError
from hydra_ray.steps.generate.endpoint.dialect import Dialect
from hydra_ray.steps.profiles.profile import Draft, ProfileTools
from hydra_ray.steps.profiles.prompts import ProfilePrompts
from hydra_ray.steps.prompt import Prompter
from hydra_ray.store.completions.records import Statement
from hydra_ray.store.profiles import UserProfile
from hydra_ray.store.shards import export_heads
from hydra_ray.store.types import FeedbackEvent, MergeReport
from hydra_ray.tasks import Task

# Settings of which code below them has another name.
OTHER_NAMES = {
    "checkpoint",
    "expected",
    "max_batch_size",
    "max_bytes",
    "most_history_answers",
    "most_samples",
    "resamples",
}

# Where a name of a setting stands for something else.
MAY_HAVE_DEFAULTS = {
    # What was asked, answered, found or is under way: a record starts empty.
    *(
        Answer,
        ChatRequest,
        Usage,
        User,
        FeedbackEvent,
        Feedback,
        Statement,
        CompletionFeedback,
        MergeReport,
        AdaptRequest,
        Draft,
        Written,
        FittedHead,
        RunRecord,
        RequestTrace,
        Experiment,
        Estimate,
        Logged,
    ),
    *(GenerateError, RephraseError, UserProfile, TrainState, _Resumed, _Probe),
    # Data tell their own task; an endpoint without quirks has these.
    *(Task, Dialect, Fields),
    # A method's parts, which its name says: no setting is left out.
    *(ask, Collaborative, Hydra, Ports, Prompted, LocalSteps, Adapter, ProfileTools, Prompter.__call__),
    # None is what settings say, or all that there is.
    *(make_generator, make_backend, load_data, FeedbackStore, HydraOptions, cli.profile),
    *(store_commands.migrate_store, store_commands.export, personalisation.off, personalisation.on, report.online),
    # Settings themselves: of a search, of one command, of what is exported, and the wording that settings take.
    # What people write of recipes, too.
    *(RecipesFile, RecipeSettings, TriedPromptSettings),
    *(SearchSettings, PromptSearch, cli.demo, measure, export_heads, ProfilePrompts),
    # What a caller wants, what a counter begins with, what commands and errors are unless somebody says otherwise.
    *(WantedKey, Wishes, SamplingParameters, _Counter, RequestError, keys.create, keys.list_keys, k8s.render_manifests),
    # Where one is in a tree: it begins at its top.
    *(unknown_keys, broken_rules, differences),
    # Where tensors are, which is not where vLLM is.
    *(pad, probe, resolve),
}


def names_of(section: BaseModel) -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        yield from names_of(value) if isinstance(value, BaseModel) else [name]


def defaults(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
    """Place and name of all fields and arguments below a node that have a default."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        here = f"{place}.{child.name}"
        if isinstance(child, ast.ClassDef):
            fields = [one for one in child.body if isinstance(one, ast.AnnAssign) and one.value is not None]
            fields = [one for one in fields if "ClassVar" not in ast.unparse(one.annotation)]
            yield from ((here, one.target.id) for one in fields if isinstance(one.target, ast.Name))
        else:
            arguments = [*child.args.posonlyargs, *child.args.args]
            given = arguments[len(arguments) - len(child.args.defaults) :]
            pairs = zip(child.args.kwonlyargs, child.args.kw_defaults, strict=True)
            given += [one for one, default in pairs if default is not None]
            yield from ((here, one.arg) for one in given)
        yield from defaults(child, here)


def repeated(source: str, place: str) -> list[str]:
    """Defaults in a module's source that settings have."""
    names = {*names_of(Settings()), *OTHER_NAMES}
    free = tuple(f"{one.__module__}.{one.__qualname__}" for one in MAY_HAVE_DEFAULTS)
    found = [(at, name) for at, name in defaults(ast.parse(source), place) if name in names]
    return [f"{at}: {name}" for at, name in found if not any(f"{at}.".startswith(f"{one}.") for one in free)]


def test_nothing_below_settings_repeats_a_default():
    root = Path(find_spec("hydra_ray").origin).parent
    files = [path for path in root.rglob("*.py") if "settings" not in path.parts and "migrations" not in path.parts]
    assert len(files) > 150
    found = []
    for path in files:
        place = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        found += repeated(path.read_text(encoding="utf-8"), place.removesuffix(".__init__"))
    assert found == [], "let it be required, and take it from settings"


@pytest.mark.parametrize(
    "source",
    [
        "class Options:\n    shots: int = 4",
        "def make(steps=15): ...",
        "def make(*, retries=4): ...",
        "class Cache:\n    def __init__(self, max_bytes=9): ...",
    ],
)
def test_a_repeated_default_is_found(source):
    assert len(repeated(source, "hydra_ray.new")) == 1
    assert repeated("class Options:\n    shots: int\n    other: int = 4\n", "hydra_ray.new") == []
