"""The kinds of head there are. A new one is one class, and one name here."""

from hydra_ray.models.heads.bases import Bases
from hydra_ray.models.heads.facets import Facets
from hydra_ray.models.heads.kind import HeadKind
from hydra_ray.models.heads.lowrank import Dense, LowRank

HEAD_KINDS: dict[str, HeadKind] = {kind.name: kind for kind in (LowRank(), Dense(), Facets(), Bases())}
