"""Deadlines, breakers, readiness: what keeps one step that fails, or takes long, from being everybody's trouble."""
