"""Completions on their way into the log: what is kept of an answer, and who writes it."""
