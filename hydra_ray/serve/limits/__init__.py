"""How much callers may ask for: quotas, counted in one place for all replicas of the ingress."""
