"""The shared head and the users' heads around it: logit = shared(z) + delta_u(z).

`shared` serves everybody; a user without a fitted head contributes no delta and gets exactly shared(z).
"""

from hydra_ray.models.heads.head import Head
from hydra_ray.models.heads.kind import FitOptions
from hydra_ray.models.heads.kinds import HEAD_KINDS
from hydra_ray.models.heads.model import HeadModel, check_kind

__all__ = ["HEAD_KINDS", "FitOptions", "Head", "HeadModel", "check_kind"]
