"""Which failures of a database pass by themselves, and how what failed by them is done again."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_delay, wait_random_exponential

from hydra_ray.store.types import LostError

log = logging.getLogger(__name__)

# Transactions take a fraction of a second; a server that is gone for longer is an outage.
RETRY_S = 10.0
_STATES = {
    "40001",  # serialisation failure
    "40P01",  # deadlock
    "57P01",  # the connection was ended by an operator
    "57P02",  # by a crash of the server
    "57P03",  # the server is starting
}
_LOST = re.compile(r"server closed the connection|connection is (lost|closed)|terminating connection", re.IGNORECASE)

Result = TypeVar("Result")


def passes(error: BaseException) -> bool:
    """Return whether the same transaction may succeed when it is run again: it was in another's way, or cut off."""
    if isinstance(error, LostError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state in _STATES or state.startswith("08"):
        return True
    return bool(error.connection_invalidated or (not state and _LOST.search(str(error.orig))))


def again_where_lost(work: Callable[[], Result]) -> Result:
    """Run a transaction, and again where it was in another's way or its connection was cut off, for some seconds.

    Args:
        work: Transaction as a whole. It may be run twice although the first one was written: the second must then
            change nothing.
    """
    try:
        return work()
    except Exception as error:
        if not passes(error):
            raise
        log.info("run again: %s", error)
    retrying = Retrying(
        retry=retry_if_exception(passes),
        stop=stop_after_delay(RETRY_S),
        wait=wait_random_exponential(multiplier=0.02, max=1),
        before_sleep=before_sleep_log(log, logging.INFO),
        reraise=True,
    )
    return retrying(work)
