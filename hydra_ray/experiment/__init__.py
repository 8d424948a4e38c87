"""Statistics of online experiments: what arms came to, how they differ, and how many users that takes."""

from hydra_ray.experiment.compare import ArmReport, Comparison, Figure, compare
from hydra_ray.experiment.measures import MEASURES, Measure
from hydra_ray.experiment.observed import Observed
from hydra_ray.experiment.sample_size import SampleSize, for_mean, for_share

__all__ = [
    "MEASURES",
    "ArmReport",
    "Comparison",
    "Figure",
    "Measure",
    "Observed",
    "SampleSize",
    "compare",
    "for_mean",
    "for_share",
]
