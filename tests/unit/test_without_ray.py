"""Records, tasks, data, models, store, steps and methods work where Ray is not installed."""

import subprocess
import sys

ROOMS = [
    "hydra_ray.records",
    "hydra_ray.tasks",
    "hydra_ray.data.lamp",
    "hydra_ray.data.table",
    "hydra_ray.data.simulated",
    "hydra_ray.models.base",
    "hydra_ray.store.backends",
    "hydra_ray.steps.adapt",
    "hydra_ray.steps.generate.embedded",
    "hydra_ray.steps.generate.endpoint.client",
    "hydra_ray.steps.generate.splitting",
    "hydra_ray.steps.rerank",
    "hydra_ray.steps.profiles.peers",
    "hydra_ray.steps.retrieval.retrievers",
    "hydra_ray.methods",
]


def test_rooms_import_without_ray():
    # None in sys.modules makes an import fail as if the package were not there.
    code = "import sys; sys.modules['ray'] = None; " + "; ".join(f"import {room}" for room in ROOMS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
