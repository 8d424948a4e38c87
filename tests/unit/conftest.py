"""What unit tests share."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def exact_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests compare numbers closely, so encoders compute in float32 unless a test forces the probe's answer itself."""
    monkeypatch.setenv("HYDRA_PRECISION", "float32")


@pytest.fixture(scope="session")
def machine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that stands for the user's cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_encoders(monkeypatch: pytest.MonkeyPatch, machine_cache: Path) -> None:
    """Encoders as ONNX Runtime reads them would push those out that the machine's user needs."""
    monkeypatch.setattr("hydra_ray.settings.encoders.user_cache", lambda: machine_cache)


@pytest.fixture
def cuda():
    """The GPU; without one the test is skipped."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU (CUDA)")
    return torch.device("cuda")
