"""Notes values of metrics in this process, from which Ray brings them to its Prometheus endpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ray.serve import metrics

from hydra_ray.serve.observe.names import CACHE_LOOKUPS, HEAD_AGE_HOURS, OTHER, VALUES, Metric
from hydra_ray.settings import Settings
from hydra_ray.settings.experiments import DEFAULT, HOLDOUT

log = logging.getLogger(__name__)


class Metrics:
    """The metrics of one process, each made when it is first noted: Ray wants that in the replica itself.

    Nothing here fails whoever notes something. What goes wrong is logged, once for each metric.

    Args:
        tenants: Values of the label `tenant`.
        arms: Values of the label `arm`.
    """

    def __init__(self, tenants: Collection[str], arms: Collection[str]) -> None:
        of_settings = {"tenant": tenants, "arm": arms}
        self._values: Mapping[str, frozenset[str]] = {
            label: frozenset(of_settings.get(label, ()) if values is None else values)
            for label, values in VALUES.items()
        }
        self._made: dict[str, Any] = {}
        self._failed: set[str] = set()

    def note(self, metric: Metric, value: float = 1.0, **labels: str | None) -> None:
        """Add to a counter, set a gauge, or have a histogram count a value.

        Args:
            metric: One of `hydra_ray.serve.observe.names`.
            value: How much.
            labels: A value for each label of the metric; one that is not listed counts as "other".
        """
        try:
            tags = {label: self._listed(label, labels[label]) for label in metric.labels}
            made = self._of(metric)
            if metric.kind == "counter":
                # Ray refuses to add nothing.
                if value > 0:
                    made.inc(value, tags=tags)
            elif metric.kind == "gauge":
                made.set(value, tags=tags)
            else:
                made.observe(value, tags=tags)
        except Exception as error:
            if metric.name not in self._failed:
                self._failed.add(metric.name)
                log.warning("the metric %s is not noted (told once)", metric.name, exc_info=error)

    def lookups(self, cache: str) -> Callable[[int, int], None]:
        """Return what counts lookups of a cache: called with the numbers of things that were there, and were not."""

        def noted(found: int, missed: int) -> None:
            self.note(CACHE_LOOKUPS, found, cache=cache, found="yes")
            self.note(CACHE_LOOKUPS, missed, cache=cache, found="no")

        return noted

    def ages(self, role: str) -> Callable[[float], None]:
        """Return what notes the age of a head that a role judges under: called with seconds."""
        return lambda age_s: self.note(HEAD_AGE_HOURS, age_s / 3600, role=role)

    def _listed(self, label: str, value: str | None) -> str:
        if value is None:
            return "none"
        return value if value in self._values[label] else OTHER

    def _of(self, metric: Metric) -> Any:
        if metric.name not in self._made:
            if metric.kind == "counter":
                made = metrics.Counter(metric.name, metric.meaning, tag_keys=metric.labels)
            elif metric.kind == "gauge":
                made = metrics.Gauge(metric.name, metric.meaning, tag_keys=metric.labels)
            else:
                made = metrics.Histogram(metric.name, metric.meaning, list(metric.bounds), tag_keys=metric.labels)
            self._made[metric.name] = made
        return self._made[metric.name]


def metrics_of(settings: Settings) -> Metrics:
    """Make the metrics of a process that serves by these settings."""
    return Metrics(settings.served_tenants, (HOLDOUT, DEFAULT, *settings.serve.experiment.arms))
