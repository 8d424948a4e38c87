"""Erasure of users: the store, and every file below `out` and the configured folders."""
