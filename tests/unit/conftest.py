"""What unit tests share."""

import pytest


@pytest.fixture(autouse=True)
def exact_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests compare numbers closely, so encoders compute in float32 unless a test forces the probe's answer itself."""
    monkeypatch.setenv("HYDRA_PRECISION", "float32")


@pytest.fixture
def cuda():
    """The GPU; without one the test is skipped."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU (CUDA)")
    return torch.device("cuda")
