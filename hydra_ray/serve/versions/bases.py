"""Versions of the base as requests are answered with them: the methods of every tenant, made once for each version."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from hydra_ray.methods import METHODS, Method, Recipe
from hydra_ray.methods.ports import Generate
from hydra_ray.registry import Manifest
from hydra_ray.runtime.factory import make_prompter
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.settings import Settings
from hydra_ray.tasks import Task

# Methods are made anew for versions that nobody asked for lately.
_KEPT = 8


@dataclass(frozen=True, slots=True)
class ServedBase:
    """A version of the base, as requests are answered with it.

    Attributes:
        version: Name of the version.
        task: Task that it was trained for.
        methods: Methods by tenant and name, whose steps all answer by this version. What they ask for is a tenant's:
            answers that are kept, and prefixes that vLLM keeps, are no other's.
        make: Makes the method of a tenant and a name with the port by which answers are said, for one request.
    """

    version: str
    task: Task
    methods: Mapping[tuple[str, str], Method]
    make: Callable[[str, str, Generate | None], Method]


class ServedBases:
    """Keeps the versions that were asked for lately.

    Args:
        steps: Steps of all methods.
        settings: Settings of the prompter.
        recipe: Numbers of the methods.
        tenants: Names of those who are served.
    """

    def __init__(self, steps: RemoteSteps, settings: Settings, recipe: Recipe, tenants: Iterable[str]) -> None:
        self._steps, self._settings, self._recipe = steps, settings, recipe
        self._tenants = tuple(tenants)
        self._kept: OrderedDict[str, ServedBase] = OrderedDict()

    def of(self, manifest: Manifest) -> ServedBase:
        """Return the version of a manifest."""
        version = manifest.version
        if version not in self._kept:
            self._kept[version] = self._made(version, manifest.task)
        self._kept.move_to_end(version)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[version]

    def _made(self, version: str, task: Task) -> ServedBase:
        steps, prompter = self._steps.at(version), make_prompter(self._settings, task)

        def make(tenant: str, name: str, say: Generate | None) -> Method:
            ports = replace(replace(steps, tenant=tenant).ports(), say=say)
            return METHODS[name](ports, prompter, self._recipe)

        methods = {(tenant, name): make(tenant, name, None) for tenant in self._tenants for name in METHODS}
        return ServedBase(version, task, methods, make)
