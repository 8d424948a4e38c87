"""The kinds of head by name. A new kind is one class, and one entry here."""

from hydra_ray.models.heads.bases import Bases
from hydra_ray.models.heads.facets import Facets
from hydra_ray.models.heads.kind import HeadKind
from hydra_ray.models.heads.lowrank import Dense, LowRank

HEAD_KINDS: dict[str, HeadKind] = {kind.name: kind for kind in (LowRank(), Dense(), Facets(), Bases())}
