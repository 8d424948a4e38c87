"""Has the profiles of many users written: from settings to the store."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.learn.collect.setup import make_generator_pool
from hydra_ray.learn.heads.stored_users import read_users
from hydra_ray.learn.profiles.pipeline import Written, write_all
from hydra_ray.progress import ProgressListener
from hydra_ray.records import HistoryItem, Usage, UserKey
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.factory import make_profile_rules
from hydra_ray.runtime.generators import check_generator
from hydra_ray.runtime.loading import chosen_users, put_histories
from hydra_ray.runtime.vllm_app import engine_running
from hydra_ray.settings import Settings
from hydra_ray.steps.generate.failures import Failure, FailureLog, UnfinishedError, by_kind, listed
from hydra_ray.steps.profiles.profile import Readable, in_words
from hydra_ray.steps.profiles.writer import KINDS, ProfileFingerprints, check_kind
from hydra_ray.steps.retrieval.nearest import load_faiss
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store
from hydra_ray.tasks import Task


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """Report of writing profiles.

    Attributes:
        written: Profiles that are in the store now.
        kept: Profiles still of use: little history has come since, and settings are the same.
        comparing: Written profiles of kinds that tell what sets users apart from others.
        degraded: Those of them that had to do without: they are as pag's.
        read: Items that were compared with others', by when the LLM's answer could be read.
        failed: Profiles that the LLM did not write, by what went wrong.
        left: Profiles that a budget did not allow.
        usage: Calls and tokens.
        stopped: Why writing ended before its plan did.
    """

    written: int = 0
    kept: int = 0
    comparing: int = 0
    degraded: int = 0
    read: Counter[Readable] = field(default_factory=Counter)
    failed: Counter[Failure] = field(default_factory=Counter)
    left: int = 0
    usage: Usage = field(default_factory=Usage)
    stopped: str = ""

    def __add__(self, one: Written) -> ProfileReport:
        profile = one.profile
        return replace(
            self,
            comparing=self.comparing + (profile is not None and KINDS[profile.kind].compares),
            degraded=self.degraded + (profile is not None and profile.degraded),
            read=self.read + one.read,
            failed=self.failed + Counter([one.failure] if one.failure else []),
            left=self.left + bool(one.stopped),
            usage=self.usage + one.usage,
            stopped=self.stopped or one.stopped,
        )

    def __str__(self) -> str:
        lines = [
            f"{self.written} profiles written, {self.kept} were there already: {self.usage.calls} LLM calls "
            f"({self.usage.cached} more from the cache), {self.usage.prompt_tokens} tokens in, "
            f"{self.usage.completion_tokens} out."
        ]
        if self.comparing:
            lines.append(
                f"{self.comparing - self.degraded} of {self.comparing} profiles of kind dpl name differences from "
                "others, the rest fell back to pag's."
            )
        if self.read:
            lines.append(in_words(self.read))
        final = {failure: count for failure, count in self.failed.items() if failure.final}
        if final:
            lines.append(f"The LLM would not write {sum(final.values())} profiles: {listed(by_kind(final))}.")
        if self.unfinished:
            count = sum(self.unfinished.values())
            lines.append(f"{count} profiles failed: {listed(by_kind(self.unfinished))}. The same command tries again.")
        if self.stopped:
            lines.append(f"Stopped early with {self.left} profiles left: {self.stopped}.")
        return " ".join(lines)

    @property
    def unfinished(self) -> Mapping[Failure, int]:
        """Profiles that the next run may have written."""
        return {failure: count for failure, count in self.failed.items() if not failure.final}

    def check(self) -> None:
        """Refuses to take the profiles for all.

        Raises:
            UnfinishedError: Some failed for now.
        """
        if self.unfinished:
            raise UnfinishedError(
                f"unfinished: {sum(self.unfinished.values())} profiles were not written: "
                f"{listed(by_kind(self.unfinished))}. The others are kept. The same command tries just those again"
            )


def write_profiles(
    settings: Settings, listener: ProgressListener, kinds: Sequence[str] = tuple(KINDS)
) -> ProfileReport:
    """Writes the profiles of the chosen users that are missing or out of date, and stores them with the histories.

    Others' texts are read where the tenant opted in: those of all users in the store.

    Raises:
        HydraError: The kind, the data, the users or the generator cannot be used.
        UnfinishedError: The generator is down.
    """
    for kind in kinds:
        check_kind(kind, "kind")
    # Whether texts are shared is the tenant's own choice, as while serving.
    settings = settings.of_tenant(settings.tenant)
    task, dataset = chosen_users(settings)
    store = open_store(settings.store_target)
    if settings.data.format != "store":
        # What is read from the store may have grown meanwhile.
        put_histories(store, dataset)
        # With what came online.
        stored = read_users(store, [user.key for user in dataset.users])
        dataset = replace(dataset, users=tuple(map(stored.whole, dataset.users)))
    todo = out_of_date(settings, task, dataset, store, kinds)
    report = ProfileReport(kept=len(kinds) * sum(bool(user.history) for user in dataset.users) - len(todo))
    if todo:
        check_generator(settings.generator, settings.feedback.labelers)
        with cluster(settings.ray), engine_running(settings.generator), listener.bars() as bar:
            line = bar.add_task("Writing profiles", total=len(todo), note="")

            def show(report: ProfileReport) -> None:
                failed = report.failed.total()
                note = f"{report.usage.calls} calls, {failed} failed"
                bar.update(line, completed=report.written + failed + report.left, note=note)

            others = {}
            if settings.tenant in settings.peers.tenants:
                load_faiss("peers are found")
                others = open_to_peers(store, settings.tenant)
            # Closed while Ray runs: what is under way ends with it.
            with contextlib.closing(
                write_all(todo, others, settings, task, make_generator_pool(settings, task))
            ) as answers:
                report = _keep(todo, answers, store, report, show, settings.generator.max_failure_share)
    store.close()
    return report


def open_to_peers(store: Store, tenant: str) -> dict[UserKey, list[HistoryItem]]:
    """Return the histories of a tenant's users but for those who switched personalisation off."""
    histories = store.histories(tenant)
    return {key: items for key, items in histories.items() if store.records.is_personalised(key)}


def out_of_date(
    settings: Settings, task: Task, dataset: Dataset, store: Store, kinds: Sequence[str]
) -> list[tuple[str, User]]:
    """Kinds and users whose profile is missing or was made otherwise; nothing is written of who has no history."""
    fingerprints, todo = ProfileFingerprints(make_profile_rules(settings, task)), []
    for kind in kinds:
        had = store.profile_fingerprints(kind)
        todo += [
            (kind, user)
            for user in dataset.users
            if user.history and not fingerprints.is_fresh(had.get(user.key), kind, user.history)
        ]
    return todo


def _keep(
    todo: Sequence[tuple[str, User]],
    batches: Iterable[list[tuple[int, Written]]],
    store: Store,
    report: ProfileReport,
    show: Callable[[ProfileReport], None],
    most_failures: float,
) -> ProfileReport:
    log = FailureLog(most_failures, answered_before=report.kept)
    for batch in batches:
        for _, one in batch:
            report += one
            if not one.stopped:
                log.note(one.failure)
        kept = store.put_profiles((todo[place][1].key, one.profile) for place, one in batch if one.profile)
        report = replace(report, written=report.written + kept)
        show(report)
        if log.stop:
            break
    if log.stop or log.nothing_answered:
        log.check(f"{report.written} profiles were written and are kept.")
    return report
