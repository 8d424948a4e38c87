"""Whether replicas find a place on nodes, the large ones first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hydra_ray.k8s.check.sums.demand import Demand
from hydra_ray.k8s.check.sums.supply import NodeGroup

# Sums of tenths of a CPU are not exact.
_ROUNDING = 1e-6
# More nodes than replicas change nothing.
_MOST_NODES = 4096


class Node:
    """A node with what is left on it."""

    def __init__(self, group: NodeGroup) -> None:
        self.left = [group.cpus + _ROUNDING, group.gpus + _ROUNDING, group.memory]
        self.has: Counter[str] = Counter()

    def take(self, one: Demand) -> bool:
        """Take a replica where there is room, and return whether there was."""
        asked = [one.cpus, one.gpus, one.memory]
        if self.has[one.name] >= one.per_node or any(a > b for a, b in zip(asked, self.left, strict=True)):
            return False
        self.left = [b - a for a, b in zip(asked, self.left, strict=True)]
        self.has[one.name] += 1
        return True


def fits_a_node(one: Demand, groups: Iterable[NodeGroup]) -> bool:
    """Return whether a replica fits onto an empty node of some group."""
    return any(group.nodes > 0 and Node(group).take(one) for group in groups)


def unplaced(demands: Iterable[Demand], groups: Iterable[NodeGroup]) -> dict[str, int]:
    """Return how many replicas of each deployment find no place, those that all find one left out.

    Replicas that need most go first, each onto the first node that has room, nodes without GPUs before others. So what
    is placed can be placed; in rare cases another order would place more.
    """
    by_size = sorted(groups, key=lambda group: (group.gpus, group.cpus))
    nodes = [Node(group) for group in by_size for _ in range(min(group.nodes, _MOST_NODES))]
    left = {}
    for one in sorted(demands, key=lambda demand: (-demand.gpus, -demand.cpus, -demand.memory, demand.name)):
        placed = 0
        for node in nodes:
            while placed < one.replicas and node.take(one):
                placed += 1
        if placed < one.replicas:
            left[one.name] = one.replicas - placed
    return left
