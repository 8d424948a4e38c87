"""Makes what embeds texts from settings, and names what rankings by encodings depend on."""

from __future__ import annotations

from hydra_ray.settings import EmbedderSettings, Settings
from hydra_ray.steps.retrieval.embed import SharedEmbedder
from hydra_ray.steps.retrieval.retrievers import takes


def make_embedder(settings: Settings) -> SharedEmbedder:
    """Make the embedder whose vectors dense retrieval and the search for peers compare."""
    own = settings.embedder
    return SharedEmbedder(own.name, own.max_tokens, own.computing)


def other_encoder(settings: Settings) -> str:
    """The embedder's encoder where it is not the default one, else nothing.

    Feedback, heads and profiles are marked with it. Its arithmetic is no part of that: on another processor nothing is
    to be done again.
    """
    own, default = settings.embedder, EmbedderSettings()
    if (own.name, own.max_tokens) == (default.name, default.max_tokens):
        return ""
    return f"{own.name} of {own.max_tokens} tokens"


def ranked_by(settings: Settings) -> str:
    """Name what the method's rankings of history depend on: the retriever, and its encoder if not the default."""
    other = other_encoder(settings) if takes(settings.method.retriever, "embed") else ""
    return f"{settings.method.retriever} by {other}" if other else settings.method.retriever
