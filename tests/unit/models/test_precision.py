"""The arithmetic of encoders: found out once, forced where somebody wants it, and without effect on decisions."""

import itertools
import logging
import subprocess
import sys
import threading

import pytest
import torch
from clocks import TickingClock
from defaults import computing, load_scorer
from made_up_users import make_head
from torch.testing import assert_close

from hydra_ray.models import precision
from hydra_ray.models.heads import HEAD_KINDS
from hydra_ray.models.precision import PRECISIONS, choose, probe, resolve
from hydra_ray.records import HydraError

# Share of the spread of logits that another arithmetic may change. Twice as far apart, a choice cannot change.
TOLERANCE = 0.1
DECISIONS = [
    (judged, by, told)
    for by in ("two cats meet a robot", "a king weeps over a lost violin", "snow in June")
    for judged in ("drama", "comedy", "sci-fi", "a dark comedy about cats")
    for told in ("drama | drama", "comedy | sci-fi", "")
]


@pytest.fixture
def unforced(monkeypatch):
    """As on a machine where nobody forces anything and nothing is found out yet."""
    monkeypatch.delenv("HYDRA_PRECISION")
    monkeypatch.setattr(precision, "_probes", {})


@pytest.mark.parametrize("forced", PRECISIONS)
def test_the_answer_can_be_forced_and_a_setting_goes_before_it(monkeypatch, forced):
    monkeypatch.setenv("HYDRA_PRECISION", forced)
    assert resolve("auto") == forced
    assert [resolve(said) for said in PRECISIONS] == list(PRECISIONS)


def test_who_is_told_what_to_compute_in_needs_no_torch():
    code = (
        "import sys; from hydra_ray.models.precision import resolve\n"
        "assert resolve('float32') == 'float32'\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("wrong", ["fp16", "auto", "BFLOAT16"])
def test_what_is_no_arithmetic_cannot_be_forced(monkeypatch, wrong):
    monkeypatch.setenv("HYDRA_PRECISION", wrong)
    with pytest.raises(HydraError, match=f"^HYDRA_PRECISION: '{wrong}' is neither of float32, bfloat16"):
        resolve("auto")


@pytest.mark.usefixtures("unforced")
def test_the_probe_times_both_and_says_what_it_chose_once(caplog, monkeypatch):
    monkeypatch.setattr(precision, "time", TickingClock())
    with caplog.at_level(logging.INFO, precision.__name__):
        found = [probe(), probe()]
    assert found[0] is found[1]
    # Of the four looks in a turn two lie between those by the clock.
    assert found[0].seconds == dict.fromkeys(PRECISIONS, 3)
    assert found[0].chosen == choose(found[0].seconds) == resolve("auto")
    (said,) = caplog.messages
    assert said.startswith(f"encoders run in {found[0].chosen}: a layer takes ")


class BusyMachine:
    """Stands in for the module `time`: by the clock, bfloat16's turns are those that other processes take.

    Args:
        cpu: Seconds of CPU time that a layer takes in float32 and in bfloat16, which run in turn.
    """

    def __init__(self, cpu):
        self.perf_counter = self._counter((0.001, 0.1)).__next__
        self.process_time = self._counter(cpu).__next__

    @staticmethod
    def _counter(sides):
        now = 0.0
        for spent in itertools.cycle(sides):
            yield now
            now += spent
            yield now


@pytest.mark.usefixtures("unforced")
@pytest.mark.parametrize(("cpu", "chosen"), [((0.004, 0.001), "bfloat16"), ((0.001, 0.01), "float32")])
def test_other_work_on_the_machine_does_not_choose(monkeypatch, cpu, chosen):
    monkeypatch.setattr(precision, "time", BusyMachine(cpu))
    assert probe().chosen == chosen


@pytest.mark.usefixtures("unforced")
def test_threads_that_ask_at_once_make_one_probe(monkeypatch):
    made, of_cpu = [], precision._of_cpu
    monkeypatch.setattr(precision, "_of_cpu", lambda: made.append(1) or of_cpu())
    threads = [threading.Thread(target=resolve, args=("auto",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


@pytest.mark.usefixtures("unforced")
def test_the_probe_draws_no_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    probe()
    assert_close(torch.rand(4), expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"),
    [
        (10.0, 3.0, "bfloat16"),
        (10.0, 56.0, "float32"),
        # The more exact one, where there is no telling.
        (10.0, 9.9, "float32"),
        (10.0, 10.0, "float32"),
    ],
)
def test_less_exact_arithmetic_is_chosen_only_where_it_is_clearly_faster(float32, bfloat16, chosen):
    assert choose({"float32": float32, "bfloat16": bfloat16}) == chosen


@pytest.mark.usefixtures("unforced")
@pytest.mark.parametrize(("supported", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_is_asked_whether_it_has_it_in_hardware(monkeypatch, supported, chosen):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **told: asked.append(told) or supported)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "some GPU")
    assert resolve("auto", "cuda") == chosen
    assert asked == [{"including_emulation": False}]


@pytest.mark.usefixtures("unforced")
def test_a_device_of_which_nothing_is_known_computes_exactly():
    assert resolve("auto", "mps") == "float32"


def test_a_processor_that_only_emulates_bfloat16_computes_in_float32():
    """oneDNN and torch can be told to leave the newer instructions alone."""
    older = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    code = (
        f"import os; os.environ.update({older!r}); os.environ.pop('HYDRA_PRECISION', None)\n"
        "import torch; torch.set_num_threads(1)\n"
        "from hydra_ray.models.precision import resolve; print(resolve('auto'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "float32", done.stderr


@pytest.fixture
def trained(scorer, tmp_path):
    """Makes a base's scorer in one arithmetic, with a head of each kind, and saves it."""

    def make(trained_in):
        model = scorer()
        model.trained_in = trained_in
        model.save(tmp_path)
        return [None, *(make_head(model.heads, kind, seed) for seed, kind in enumerate(HEAD_KINDS))]

    return make


@pytest.mark.parametrize("trained_in", PRECISIONS)
@pytest.mark.parametrize("run_in", PRECISIONS)
def test_a_base_decides_alike_in_either_arithmetic(trained, tmp_path, monkeypatch, trained_in, run_in):
    heads = trained(trained_in)
    exact = load_scorer(tmp_path, precision="float32")
    monkeypatch.setenv("HYDRA_PRECISION", run_in)
    loaded = load_scorer(tmp_path)
    assert (loaded.trained_in, loaded.encoder.arithmetic) == (trained_in, run_in)
    sure = 0
    for head in heads:
        expected, found = (model.score(DECISIONS, [head] * len(DECISIONS)) for model in (exact, loaded))
        allowed = TOLERANCE * float(expected.std())
        assert_close(found, expected, atol=allowed, rtol=0)
        # Candidates of one query compete under the same told answers.
        for by in range(0, len(DECISIONS), 12):
            for told in range(3):
                competing = slice(by + told, by + 12, 3)
                best = expected[competing].sort(descending=True).values
                if best[0] - best[1] > 2 * allowed:
                    sure += 1
                    assert found[competing].argmax() == expected[competing].argmax()
    assert sure > len(heads), "too few clear cases to tell anything"


def test_what_a_base_was_trained_in_stays_when_it_is_run_in_another_and_saved_again(trained, tmp_path, monkeypatch):
    trained("bfloat16")
    monkeypatch.setenv("HYDRA_PRECISION", "float32")
    loaded = load_scorer(tmp_path)
    assert loaded.encoder.arithmetic == "float32"
    loaded.save(tmp_path / "again")
    assert load_scorer(tmp_path / "again").trained_in == "bfloat16"


def test_a_scorer_that_nothing_is_said_of_was_trained_in_what_it_runs_in(scorer, tmp_path, monkeypatch):
    monkeypatch.setenv("HYDRA_PRECISION", "bfloat16")
    model = scorer()
    model.encoder.computing = computing(precision="auto")
    model.save(tmp_path)
    assert load_scorer(tmp_path).trained_in == "bfloat16"
