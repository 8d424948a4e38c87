"""The port that Serve listens on, against the one that its pods say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hydra_ray.k8s.check.content.serve import ServeConfig
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import dig, mappings

# KubeRay's name of the port that it sends requests to, and Serve's own number.
_NAME, _PORT = "serve", 8000


def check_port(config: ServeConfig, pods: Sequence[Pod]) -> Iterator[Problem]:
    """Yield that the pods' port `serve` is another than Serve listens on: no request would arrive."""
    listens = dig(config.config, "http_options", "port")
    listens = _PORT if listens is None else listens
    for pod in pods:
        for path, container in pod.containers if pod.group else ():
            for place, port in mappings(container.get("ports")):
                number = port.get("containerPort", 0)
                # One that is no port at all has a line of its own.
                if port.get("name") == _NAME and 0 < number < 65536 and number != listens:
                    said = f"Serve listens on {listens} (http_options.port), so nobody answers on {number}"
                    yield pod.thing.problem(f"{path}.ports[{place}].containerPort", said)
