"""The methods by name. A new method is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from hydra_ray.methods.collaborative import Collaborative
from hydra_ray.methods.hydra import Hydra
from hydra_ray.methods.ports import Method, Ports, Recipe
from hydra_ray.methods.prompted import Prompted
from hydra_ray.steps.prompt import Prompter

METHODS: dict[str, Callable[[Ports, Prompter, Recipe], Method]] = {
    "zero-shot": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by=None),
    "icl": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="random"),
    "rag": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="bm25"),
    "rag-dense": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="dense"),
    "rag-recent": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="recent"),
    "rag-mixed": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="mixed"),
    "rag-hybrid": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="hybrid"),
    "zero-shot-vote": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by=None, vote=True),
    "icl-vote": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="random", vote=True),
    "rag-vote": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="bm25", vote=True),
    "rag-dense-vote": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="dense", vote=True),
    "rag-mixed-vote": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="mixed", vote=True),
    "pag": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="bm25", profile="pag"),
    "dpl": lambda ports, prompter, recipe: Prompted(ports, prompter, recipe, by="bm25", profile="dpl"),
    "cfrag": Collaborative,
    "hydra-reranker": lambda ports, prompter, recipe: Hydra(ports, prompter, recipe, adapt=False),
    "hydra-adapter": lambda ports, prompter, recipe: Hydra(ports, prompter, recipe, rerank=False),
    "hydra": Hydra,
}


def needs_base(method: str) -> bool:
    """Whether a method judges by a trained base; their names begin with "hydra". The others only prompt."""
    return method.startswith("hydra")


__all__ = ["METHODS", "Method", "Ports", "Prompter", "Recipe", "needs_base"]
