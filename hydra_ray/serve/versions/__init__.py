"""Which versions of the base a running service holds, and how it takes up a promotion."""
