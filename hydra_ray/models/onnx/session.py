"""A backbone that ONNX Runtime computes, one session of it in each process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from hydra_ray.fingerprint import fingerprint
from hydra_ray.models.onnx import kept
from hydra_ray.models.onnx.export import TokensOf, compare, export
from hydra_ray.records import HydraError

log = logging.getLogger(__name__)


class OnnxSession:
    """A backbone that ONNX Runtime computes, in float32. Any thread may call it.

    Args:
        model: The model, or its file, which takes half the memory.
    """

    def __init__(self, model: bytes | Path) -> None:
        import onnxruntime

        options: Any = onnxruntime.SessionOptions()
        # As many as torch has by now (`runtime/threads.py`), none of which spins while it waits.
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # It would never give back what the largest batch took, and saves no time.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        # Of what it does to the model it would tell stderr.
        options.log_severity_level = 3
        given = model if isinstance(model, bytes) else str(model)
        self._session: Any = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_inputs()]

    def __call__(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Return the last layer's states of tokens on the CPU, shape (texts, tokens, width), float32."""
        (states,) = self._session.run(None, {name: tokens[name].numpy() for name in self._names})
        return torch.from_numpy(states)


# By process and model: reranker and adapter of a frozen encoder, of all versions, have one.
_sessions: WeakValueDictionary[tuple[int, str], OnnxSession] = WeakValueDictionary()
_lock = Lock()


def open_session(backbone: nn.Module, tokens_of: TokensOf, encoder: str, folder: Path) -> OnnxSession:
    """Open the session of a backbone, or return the one that this process has.

    A model that no process of this machine has written yet is written, compared with torch's, and kept.

    Args:
        backbone: A Hugging Face encoder, on the CPU.
        tokens_of: Tokenises.
        encoder: Fingerprint of the encoder (`encoder_fingerprint`).
        folder: Folder of models, of this machine.

    Raises:
        Exception: Torch cannot write such a backbone, ONNX Runtime cannot run it, or it computes something else.
    """
    import onnxruntime

    key = fingerprint(encoder, torch.__version__, onnxruntime.__version__)
    with _lock:
        session = _sessions.get((os.getpid(), key))
        if session is None:
            file = kept.find(folder, key)
            session = OnnxSession(file) if file else _written(backbone, tokens_of, folder, key)
            _sessions[os.getpid(), key] = session
            log.info("ONNX Runtime %s encodes (threads: %d)", onnxruntime.__version__, torch.get_num_threads())
    return session


class LazySession:
    """The session of one encoder whose weights stay as they are, opened when it is first needed.

    Threads of a session do not come along into a process that is forked: there it is opened again.

    Args:
        required: Whether it is an error where ONNX Runtime cannot run the encoder.
    """

    def __init__(self, required: bool) -> None:
        self._required = required
        self._process = 0
        self._session: OnnxSession | None = None

    def get(self, opened: Callable[[], OnnxSession]) -> OnnxSession | None:
        """Return the session; None where ONNX Runtime cannot run the encoder, which the log says once.

        Args:
            opened: Opens it.

        Raises:
            HydraError: ONNX Runtime cannot, and has to.
        """
        if self._process != os.getpid():
            self._session = self._attempt(opened)
            self._process = os.getpid()
        return self._session

    def _attempt(self, opened: Callable[[], OnnxSession]) -> OnnxSession | None:
        try:
            return opened()
        # Whatever it is: encoders are of many kinds, and torch runs them all.
        except Exception as error:
            if self._required:
                cause = str(error).partition("\n")[0]
                raise HydraError(
                    f"runtime: onnx: ONNX Runtime cannot run the encoder: {cause}; set runtime: auto"
                ) from error
            log.warning("ONNX Runtime cannot run the encoder, so torch does", exc_info=error)
            return None


def _written(backbone: nn.Module, tokens_of: TokensOf, folder: Path, key: str) -> OnnxSession:
    model = export(backbone, tokens_of)
    session = OnnxSession(model)
    compare(session, backbone, tokens_of)
    file = kept.keep(folder, key, model)
    return OnnxSession(file) if file else session
