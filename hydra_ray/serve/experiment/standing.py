"""How a request stands to personalisation: whether its user is personalised, and in which arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hydra_ray.records import UserKey
from hydra_ray.serve.experiment.assignments import NOT_IN_IT, Assignment, Assignments
from hydra_ray.serve.experiment.switch import WatchedSwitch
from hydra_ray.serve.http.principal import Principal
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.serve.user_rights import personalised
from hydra_ray.settings import Settings
from hydra_ray.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Standing:
    """How one request stands to personalisation.

    Attributes:
        wanted: Whether the user may be known: neither they nor their tenant switched personalisation off.
        personal: Whether the user is answered in their own way: no operator and no arm switched that off, either.
        assignment: Arm of the request, if it is in an experiment.
        degraded: Names of what was done without to find out.
    """

    wanted: bool
    personal: bool
    assignment: Assignment
    degraded: tuple[str, ...]

    def head(self, user: UserKey | None) -> UserKey | None:
        """Return the user whose head judges; None is the head that all share."""
        return user if self.assignment.own_head else None


@dataclass(frozen=True, slots=True)
class Personalisation:
    """Finds out how requests stand to it.

    Attributes:
        tenants: Settings of each tenant.
        store: Store of users, which knows what they want.
        steps: Steps with the breakers, and the longest wait for the store.
        switch: Switch by which the operator ends it for everybody.
        assignments: Draws arms.
    """

    tenants: Mapping[str, Settings]
    store: Store
    steps: RemoteSteps
    switch: WatchedSwitch
    assignments: Assignments

    async def of(self, caller: Principal, completion_id: str, *, chosen: bool) -> Standing:
        """Return how a request stands to personalisation.

        Args:
            caller: Principal of the request.
            completion_id: Id that its completion will have.
            chosen: Whether the request itself names a method or a version: then it is in no experiment, since whoever
                chose it may have had a reason.
        """
        if not self.tenants[caller.tenant].personal:
            return Standing(False, False, NOT_IN_IT, ())
        wanted, degraded = await personalised(self.store, caller.user, self.steps)
        if not wanted or not self.switch.is_on(caller.tenant):
            return Standing(wanted, False, NOT_IN_IT, degraded)
        assignment = NOT_IN_IT if chosen else self.assignments.of(caller.user, completion_id)
        return Standing(True, assignment.personal, assignment, degraded)
