"""`python -m hydra_ray` is `hydra-ray`."""

from hydra_ray.cli import main

main()
