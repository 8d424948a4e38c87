"""Personalises any black-box LLM for every single user, on Ray."""

__version__ = "0.1.0"
