"""`hydra-ray personalisation`: off and on, for a tenant or for all."""

import pytest
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.records import HydraError


@pytest.fixture
def hydra(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(f"tenant: acme\nout: {tmp_path / 'out'}\ntenants: {{zeta: {{}}}}\n")

    def run(word, *more):
        done = CliRunner().invoke(app, ["personalisation", word, str(path), *more])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout.splitlines()

    return run


def test_all_tenants_are_switched_off_and_on(hydra):
    assert hydra("status") == ["on for acme, zeta"]
    (line,) = hydra("off")
    assert line.startswith("off for all tenants since 20")
    assert hydra("status") == [line]
    assert hydra("on") == ["on for acme, zeta"]


def test_a_tenant_is_switched_off_alone(hydra):
    off, others = hydra("off", "--tenant", "zeta")
    assert off.startswith("off for tenant zeta since 20")
    assert others == "on for acme"


def test_a_tenant_that_is_not_served_is_named(hydra):
    with pytest.raises(HydraError, match=r"--tenant: 'nemo' is not served; there are acme, zeta"):
        hydra("off", "--tenant", "nemo")
