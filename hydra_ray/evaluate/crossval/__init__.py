"""Recipes compared by cross-validation over users, from features that are kept."""
