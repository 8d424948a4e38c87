"""How tests wait for what happens elsewhere."""

import time
from collections.abc import Callable

# Far more than anything takes on a machine with nothing else to do.
PATIENCE_S = 240


def until(reached: Callable[[], bool], what: str) -> None:
    """Waits for something, generously."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain: {what}")
        time.sleep(0.1)
