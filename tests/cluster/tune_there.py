"""Runs `hydra-ray tune` with trials that wait: `python tune_there.py FOLDER SETTINGS --search SEARCH`.

A trial writes a file `FOLDER/NODE-ID` when it begins, and goes on once there is `FOLDER/go`.
"""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from socket import gethostname
from typing import Any

from hydra_ray.cli import main
from hydra_ray.learn.tune import job

FOLDER, run_trial = Path(sys.argv.pop(1)), job.run_trial


def waiting_trial(values: dict[str, Any], job: Any) -> None:
    """Tells where it is, and is a trial when it may."""
    (FOLDER / f"{gethostname()}-{uuid.uuid4().hex}").touch()
    while not (FOLDER / "go").exists():
        time.sleep(0.05)
    run_trial(values, job)


if __name__ == "__main__":
    # It travels to the nodes as it is here, since they cannot import this file.
    job.run_trial = waiting_trial
    sys.argv.insert(1, "tune")
    main()
