"""Runs `hydra-ray fit` with fitters that wait: `python fit_there.py FOLDER SETTINGS`.

Each fits one shard of the adapter. As it begins its second one it writes a file `FOLDER/NODE-ID`, and goes on once
there is `FOLDER/go`.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from socket import gethostname

from hydra_ray.cli import main
from hydra_ray.learn.heads import job
from hydra_ray.learn.heads.fitter import FittedHead, User
from hydra_ray.models.base import ADAPTER
from hydra_ray.settings import Settings

FOLDER, load_fitter = Path(sys.argv.pop(1)), job._load_fitter


def waiting_fitter(settings: Settings, version: str, base: Path, role: str):
    """A fitter that tells where it is, and goes on when it may."""
    fit, shards = load_fitter(settings, version, base, role), 0

    def fit_when_it_may(users: Iterable[User]) -> Iterator[FittedHead]:
        nonlocal shards
        shards += 1
        if role == ADAPTER and shards == 2:
            (FOLDER / f"{gethostname()}-{uuid.uuid4().hex}").touch()
            while not (FOLDER / "go").exists():
                time.sleep(0.05)
        return fit(users)

    return fit_when_it_may


if __name__ == "__main__":
    # It travels to the nodes as it is here, since they cannot import this file.
    job._load_fitter = waiting_fitter
    sys.argv.insert(1, "fit")
    main()
