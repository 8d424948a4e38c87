"""Templates of pods, wherever they are: their rules, and whether they are of the restricted kind."""
