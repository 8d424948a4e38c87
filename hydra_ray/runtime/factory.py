"""Makes prompter, recipe, peers and profiles from settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hydra_ray.data.dataset import User
from hydra_ray.methods import Recipe
from hydra_ray.records import HistoryItem, PeerItem, UserKey
from hydra_ray.runtime.embedding import make_embedder, other_encoder
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.profiles.peers import PeerPool
from hydra_ray.steps.profiles.profile import (
    PeerSource,
    ProfileOptions,
    ProfileRules,
    ProfileTools,
    Readable,
    nobody_counts,
)
from hydra_ray.steps.profiles.prompts import ProfilePrompts
from hydra_ray.steps.profiles.writer import ProfileWriter, check_kind
from hydra_ray.steps.prompt import Prompter
from hydra_ray.tasks import Task

# As `PeerPool.comparable`.
FindComparable = Callable[[UserKey, HistoryItem, int, str | None, float], Sequence[PeerItem]]


def make_prompter(settings: Settings, task: Task) -> Prompter:
    """Make the prompter, which writes the chats of a task's queries."""
    m = settings.method
    return Prompter(task, m.shot_words, m.max_input_chars, m.shot_chars)


def make_recipe(settings: Settings) -> Recipe:
    """Make the recipe: the numbers of the methods."""
    m = settings.method
    if m.profile:
        check_kind(m.profile, "method.profile")
    return Recipe(
        rerank=m.rerank,
        retriever=m.retriever,
        stemmer=m.stemmer,
        retrieve=m.retrieve,
        shots=m.shots,
        candidates=m.candidates,
        temperature=m.temperature,
        greedy=m.greedy,
        mix=m.mix,
        expected=m.decide == "expected",
        history_answers=m.history_answers,
        allowed_answers=m.allowed_answers,
        vote_weight=m.vote_weight,
        rank_weight=m.rank_weight,
        profile=m.profile,
        profile_template=settings.profile.prompts.telling,
        seed=settings.seed,
    )


def make_peers(settings: Settings, users: Iterable[User]) -> PeerPool:
    """Make the pool of histories that tenants opted in to share; nothing is encoded before somebody asks.

    Args:
        settings: Name the tenants in `peers`.
        users: Users whose texts may be shown to others; whoever asks is among them or not.
    """
    histories = {user.key: user.history for user in users}
    return PeerPool(histories, make_embedder(settings), settings.peers.tenants)


def make_profile_rules(settings: Settings, task: Task) -> ProfileRules:
    """Make the rules that profiles depend on besides histories: `profile`, and `peers` if the tenant opted in."""
    p, s = settings.peers, settings.profile
    options = ProfileOptions(
        **s.model_dump(exclude={"prompts"}), prompts=ProfilePrompts(**s.prompts.model_dump()), seed=settings.seed
    )
    other = other_encoder(settings)
    found = f"{p.per_item}|{p.floor}|{other}" if other else f"{p.per_item}|{p.floor}"
    others = found if settings.tenant in p.tenants else None
    return ProfileRules(task, options, others)


def make_profile_writer(
    settings: Settings,
    task: Task,
    generator: Generator,
    comparable: FindComparable,
    note: Callable[[Readable], None] = nobody_counts,
) -> ProfileWriter:
    """Make the writer of profiles that settings describe.

    Args:
        settings: Give `profile`, and `peers` as far as the tenant opted in.
        task: Task whose answers the histories hold.
        generator: LLM that writes.
        comparable: Finds comparable items, as `PeerPool.comparable`; never called for a tenant that did not opt in.
        note: Counts items that were compared with others', by when the LLM's answer could be read.
    """
    rules, p = make_profile_rules(settings, task), settings.peers

    def find(user: UserKey, item: HistoryItem, before: str | None) -> Sequence[PeerItem]:
        return comparable(user, item, p.per_item, before, p.floor)

    peers = None if rules.others is None else PeerSource(find, make_embedder(settings))
    return ProfileWriter(ProfileTools(generator, rules, peers, note))
