"""The methods by name. A new method is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hydra_ray.methods.collaborative import Collaborative
from hydra_ray.methods.hydra import Hydra
from hydra_ray.methods.ports import Method, Ports, Recipe
from hydra_ray.methods.prompted import Prompted
from hydra_ray.steps.prompt import Prompter

METHODS: dict[str, Callable[[Ports, Prompter, Recipe], Method]] = {
    "zero-shot": partial(Prompted, by=None),
    "icl": partial(Prompted, by="random"),
    "rag": partial(Prompted, by="bm25"),
    "rag-dense": partial(Prompted, by="dense"),
    "rag-recent": partial(Prompted, by="recent"),
    "rag-mixed": partial(Prompted, by="mixed"),
    "rag-hybrid": partial(Prompted, by="hybrid"),
    "zero-shot-vote": partial(Prompted, by=None, vote=True),
    "icl-vote": partial(Prompted, by="random", vote=True),
    "rag-vote": partial(Prompted, by="bm25", vote=True),
    "rag-dense-vote": partial(Prompted, by="dense", vote=True),
    "rag-mixed-vote": partial(Prompted, by="mixed", vote=True),
    "pag": partial(Prompted, by="bm25", profile="pag"),
    "dpl": partial(Prompted, by="bm25", profile="dpl"),
    "cfrag": Collaborative,
    "hydra-reranker": partial(Hydra, adapt=False),
    "hydra-adapter": partial(Hydra, rerank=False, gated=False),
    "hydra-ungated": partial(Hydra, gated=False),
    "hydra": Hydra,
}


def needs_base(method: str) -> bool:
    """Return whether a method needs a trained base, as its class says; the others only prompt."""
    made = METHODS.get(method)
    return getattr(made.func if isinstance(made, partial) else made, "needs_base", False)


def needs_reranker(method: str) -> bool:
    """Return whether a method is nothing without a reranker; others go on in the retriever's order."""
    return method == "hydra-reranker"


__all__ = ["METHODS", "Method", "Ports", "Prompter", "Recipe", "needs_base", "needs_reranker"]
