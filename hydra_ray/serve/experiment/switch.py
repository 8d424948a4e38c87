"""The switch of personalisation, as a replica knows it: looked up beside requests, never within one."""

from __future__ import annotations

import logging
import threading

from hydra_ray.serve.versions.polling import Poller
from hydra_ray.store.rights.switches import Switches, SwitchState
from hydra_ray.store.types import StoreError

log = logging.getLogger(__name__)


class WatchedSwitch:
    """Knows whether personalisation is on; where the store does not answer, what was known last stays.

    Args:
        switches: The switch in the store.
        poll_s: Seconds between two looks at it.
    """

    def __init__(self, switches: Switches, poll_s: float) -> None:
        self._switches = switches
        # Until it is known for once, nobody is personalised: somebody may have switched it off.
        self._state: SwitchState | None = None
        self._answers = True
        self._lock = threading.Lock()
        self.look()
        self._poller = Poller(self.look, poll_s)

    def is_on(self, tenant: str) -> bool:
        """Return whether users of a tenant are personalised."""
        return self._state is not None and self._state.is_on(tenant)

    def look(self) -> None:
        """Looks up the switch; what changed is logged, and so is a store that answers no longer, once."""
        with self._lock:
            try:
                state = self._switches.state()
            except StoreError as error:
                if self._answers:
                    kept = "nobody is personalised until it does" if self._state is None else "it stays as it was"
                    log.warning("the switch of personalisation cannot be looked up, and %s", kept, exc_info=error)
                self._answers = False
                return
            if not self._answers:
                log.warning("the switch of personalisation can be looked up again")
            self._answers = True
            before = set() if self._state is None else set(self._state.off)
            for tenant in sorted(before ^ set(state.off)):
                whose = f"tenant {tenant}" if tenant else "all tenants"
                log.warning("personalisation is %s for %s", "off" if tenant in state.off else "on again", whose)
            self._state = state

    def close(self) -> None:
        """Ends polling. Serve calls it, and so may Python once more."""
        if not self._poller.is_closed:
            self._poller.close()
