"""What users have: things made from the settings' defaults, as commands make them. A test names only what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_ray.data import chat, lamp, reviews, simulated, table
from hydra_ray.data.dataset import Dataset
from hydra_ray.data.split import Split
from hydra_ray.evaluate.results import ComparisonResult
from hydra_ray.evaluate.runs import RunRecord
from hydra_ray.evaluate.scoring import score as scoring
from hydra_ray.learn.collect.estimate import Estimate
from hydra_ray.learn.collect.estimate import estimate as estimate_requests
from hydra_ray.learn.collect.plan import Example
from hydra_ray.methods import Recipe
from hydra_ray.records import HistoryItem, Query, Ranked
from hydra_ray.runtime import factory as assembly
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.generate.cache import AnswerCache
from hydra_ray.steps.generate.endpoint.client import OpenAIGenerator
from hydra_ray.steps.generate.endpoint.target import Endpoint
from hydra_ray.steps.generate.limits import Budget, Pace
from hydra_ray.steps.generate.splitting import SplittingGenerator
from hydra_ray.steps.generate.vllm import VLLMGenerator
from hydra_ray.steps.profiles.profile import ProfileRules
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.retrieval import retrievers as retrieve
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.tasks import Task
from hydra_ray.text import search

if TYPE_CHECKING:
    from torch import Tensor

    from hydra_ray.evaluate.runner.local_steps import LocalSteps
    from hydra_ray.learn.examples import groups
    from hydra_ray.models.base import Base
    from hydra_ray.models.computing import Computing
    from hydra_ray.models.encoder import TextsEncoder
    from hydra_ray.models.heads import FitOptions
    from hydra_ray.models.scorer import Scorer

# What imports torch or Ray is imported inside functions: `--fast` leaves out the tests that use them.

SETTINGS = Settings()


def recipe(**other: Any) -> Recipe:
    return replace(assembly.make_recipe(SETTINGS), **other)


def prompter(task: Task, **other: Any) -> Prompter:
    return replace(assembly.make_prompter(SETTINGS, task), **other)


def profile_rules(task: Task, others: str | None = None, **options: Any) -> ProfileRules:
    rules = assembly.make_profile_rules(SETTINGS, task)
    return replace(rules, options=replace(rules.options, **options), others=others)


def local_steps(dataset: Dataset, **other: Any) -> LocalSteps:
    """Steps of methods that only prompt."""
    from hydra_ray.evaluate.runner.local_steps import LocalSteps

    how = {"base": None, "heads": None, "recipe": recipe(), "similar_users": SETTINGS.peers.similar_users}
    return LocalSteps(dataset, **{**how, **other})


def score_runs(dumps: Sequence[RunRecord], **other: Any) -> ComparisonResult:
    wanted = SETTINGS.evaluate
    how = {"resamples": wanted.bootstrap, "seed": SETTINGS.seed, "baselines": wanted.baselines, "folds": wanted.folds}
    return scoring.score_runs(dumps, **{**how, **other})


# What heads and bases are fitted with.


def fit_options(**other: Any) -> FitOptions:
    from hydra_ray.learn.heads import fitter as head_fit

    return replace(head_fit.fit_options(SETTINGS.fit, SETTINGS.base.loss), **other)


def posterior(observed: Tensor, group: Tensor, owner: Tensor, users: int, **other: Any) -> dict[str, Tensor]:
    from hydra_ray.models.heads import bases

    fit = SETTINGS.fit
    how = {"pull": fit.pull, "loss": SETTINGS.base.loss, "temperature": fit.temperature}
    return bases.posterior(observed, group, owner, users, **{**how, **other})


def taste(batch: Any, counted: Tensor | None = None) -> Tensor:
    from hydra_ray.models.heads import facets

    return facets.taste(batch, SETTINGS.fit.temperature, counted)


def listwise_loss(logits: Tensor, scores: Tensor, group: Tensor) -> Tensor:
    from hydra_ray.models import losses

    return losses.listwise(logits, scores, group, SETTINGS.fit.temperature)


def computing(**other: Any) -> Computing:
    return replace(SETTINGS.base.encoder.computing, **other)


def texts_encoder(folder: Path, max_tokens: int, lexical: bool = SETTINGS.base.lexical, **other: Any) -> TextsEncoder:
    from hydra_ray.models.encoder import TextsEncoder

    return TextsEncoder.load(str(folder), max_tokens, computing(**other), lexical)


def load_scorer(folder: Path, **other: Any) -> Scorer:
    from hydra_ray.models.scorer import Scorer

    return Scorer.load(folder, computing(**other))


def load_base(folder: Path) -> Base:
    from hydra_ray.models.base import Base

    return Base.load(folder, computing())


# What is collected, and taught.


def own_answer_groups(
    examples: Iterable[Example], task: Task, seed: int, others: groups.AnswersOfOthers | None, **other: Any
) -> list[groups.RankingGroup]:
    from hydra_ray.learn.examples import groups

    method = SETTINGS.method
    how = {"retrieve": retriever(method.retriever, None), "most_history_answers": method.history_answers}
    return groups.own_answer_groups(examples, task, seed, others, **{**how, **other})


def estimate(*what: Any, **other: Any) -> Estimate:
    generator = SETTINGS.generator
    how = {"most_samples": generator.dialect.samples, "reasoning_tokens": generator.reasoning_tokens}
    return estimate_requests(*what, **{**how, **other})


# What finds history.


def retriever(by: str, embed: Embed | None, stemmer: str | None = SETTINGS.method.stemmer) -> retrieve.Retriever:
    return retrieve.retriever(by, embed, stemmer)


def lexical(
    query: Query, history: Sequence[HistoryItem], k: int, stemmer: str | None = SETTINGS.method.stemmer
) -> list[Ranked]:
    return retrieve.lexical(query, history, k, stemmer)


def search_words(text: str, stemmer: str | None = SETTINGS.method.stemmer) -> list[str]:
    return search.search_words(text, stemmer)


# What asks the LLM.


def endpoint_at(
    url: str, key: str = SETTINGS.generator.api_key_env, file: Path | None = None, model: str | None = None
) -> Endpoint:
    return Endpoint(url, key, file, model)


def openai_generator(model: str, endpoints: Sequence[Endpoint], **other: Any) -> OpenAIGenerator:
    g = SETTINGS.generator
    how: Mapping[str, Any] = {
        "concurrency": g.concurrency,
        "timeout_s": g.timeout_s,
        "retries": g.retries,
        "send_seed": g.send_seed,
        "requests_per_minute": g.limits.requests_per_minute,
        "tokens_per_minute": g.limits.tokens_per_minute,
        "params": g.further_params,
        "dialect": g.dialect.model_dump(exclude_none=True),
    }
    return OpenAIGenerator(model, endpoints, **{**how, **other})


def vllm_generator(ask: Any, tenant: str, salt_key: str = "", **other: Any) -> VLLMGenerator:
    g = SETTINGS.generator
    how: Mapping[str, Any] = {
        "concurrency": g.concurrency,
        "timeout_s": g.timeout_s,
        "retries": g.retries,
        "send_seed": g.send_seed,
        "params": g.further_params,
    }
    return VLLMGenerator(ask, tenant, salt_key, **{**how, **other})


def embedded_generator(checkpoint: str = SETTINGS.generator.model, **other: Any) -> Generator:
    from hydra_ray.steps.generate.embedded import EmbeddedGenerator

    how = {"dtype": SETTINGS.generator.dtype, "max_batch_size": SETTINGS.generator.concurrency}
    return EmbeddedGenerator(checkpoint, **{**how, **other})


def splitting(
    generator: Generator,
    most_samples: Callable[[], int | None],
    cache: AnswerCache | None = None,
    identity: str = "",
    reasoning_tokens: int = SETTINGS.generator.reasoning_tokens,
) -> SplittingGenerator:
    return SplittingGenerator(generator, most_samples, cache, identity, reasoning_tokens)


def answer_cache(path: Path | str, max_bytes: int = SETTINGS.generator.cache_max_mb << 20) -> AnswerCache:
    return AnswerCache(path, max_bytes)


def budget_of(**limits: Any) -> Budget:
    from hydra_ray.runtime.generators import make_budget

    return replace(make_budget(SETTINGS.generator), **limits)


def pace_of(**limits: int | None) -> Pace:
    how = SETTINGS.generator.limits
    return Pace(**{"requests_per_minute": how.requests_per_minute, "tokens_per_minute": how.tokens_per_minute} | limits)


# What is read of users' records.


def split_of(name: str, **other: Any) -> Split:
    data = SETTINGS.data
    how = {"queries_per_user": data.queries_per_user, "dev_share": data.dev_share, "seed": SETTINGS.seed}
    return Split(name, **{**how, "tenant": SETTINGS.tenant, **other})


def review_filters(**other: int) -> reviews.ReviewFilters:
    return reviews.ReviewFilters(**SETTINGS.data.reviews.model_dump() | other)


def read_lamp(folder: Any, task: Task, split: str, **other: Any) -> tuple[Task, Dataset]:
    return lamp.read_lamp(
        folder, task, split, **{"tenant": SETTINGS.tenant, "skip_bad": SETTINGS.data.skip_bad, **other}
    )


def read_records(path: Any, task: Task, split: Split, skip_bad: float = SETTINGS.data.skip_bad) -> Dataset:
    return table.read_records(path, task, split, skip_bad)


def read_reviews(
    path: Any, items: Any, split: Split, filters: reviews.ReviewFilters, skip_bad: float = SETTINGS.data.skip_bad
) -> Dataset:
    return reviews.read_reviews(path, items, split, filters, skip_bad)


def read_chat(path: Any, split: Split, skip_bad: float = SETTINGS.data.skip_bad) -> Dataset:
    return chat.read_chat(path, split, skip_bad)


def simulate(**other: Any) -> tuple[Dataset, dict[Any, simulated.Preference]]:
    data = SETTINGS.data
    how = {"history": data.history, "queries": data.queries, "seed": SETTINGS.seed, "tenant": SETTINGS.tenant}
    return simulated.simulate(**{**how, **other})
