"""The command line as a person uses it, wrong input included."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def lamp(tmp_path: Path) -> Path:
    """A settings file and a tiny LaMP_2M train split beside it."""
    tags = "tags: [comedy, dark comedy, action]"
    question = {
        "id": "q1",
        "input": f"Which tag does this movie relate to? {tags} description: A clown robs a bank.",
        "profile": [
            {"id": "a", "description": "Two clerks joke all day.", "tag": "comedy"},
            {"id": "b", "description": "A car chase through Rome.", "tag": "action"},
        ],
    }
    (tmp_path / "train_questions.json").write_text(json.dumps([question]))
    (tmp_path / "train_outputs.json").write_text(
        json.dumps({"task": "LaMP_2M", "golds": [{"id": "q1", "output": "dark comedy"}]})
    )
    (tmp_path / "s.yaml").write_text("out: out\ndata: {format: lamp, dir: ., task: LaMP_2M}\n")
    return tmp_path


def edit(folder: Path, change) -> None:
    path = folder / "train_questions.json"
    questions = json.loads(path.read_text())
    change(questions)
    path.write_text(json.dumps(questions))


def test_describe_counts_what_is_there(hydra_ray, lamp: Path):
    done = hydra_ray("data", "describe", "s.yaml", cwd=lamp)
    assert done.returncode == 0, done.stderr
    assert "LaMP_2M" in done.stdout
    assert "median 2" in done.stdout


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda q: q[0]["profile"][1].pop("tag"), ['record 1 (id "q1")', "profile item 2", '"tag"']),
        (lambda q: q.append({**q[0], "profile": []}), ["record 2", '"q1"']),
        (lambda q: q[0]["profile"][1].update(id="a"), ["record 1", "profile item 2", '"a"']),
        (lambda q: q[0].update(id="q2"), ["train_outputs.json", '"q1"']),
    ],
    ids=["missing key", "duplicate question", "duplicate item", "answer without a question"],
)
def test_bad_records_are_one_error_and_nothing_is_written(hydra_ray, lamp: Path, change, told: list[str]):
    edit(lamp, change)
    done = hydra_ray("collect", "s.yaml", cwd=lamp)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    for part in told:
        assert part in done.stderr
    assert not (lamp / "out").exists()


def test_wrong_utf8_names_the_file(hydra_ray, lamp: Path):
    (lamp / "train_questions.json").write_bytes(b'[{"id": "\xff"}]')
    done = hydra_ray("collect", "s.yaml", cwd=lamp)
    assert done.returncode == 1
    assert "train_questions.json" in done.stderr
    assert "UTF-8" in done.stderr
    assert not (lamp / "out").exists()


def test_settings_typos_are_all_named(hydra_ray, lamp: Path):
    done = hydra_ray("train", "s.yaml", "base.epoch=3", "fit.pull=-1", cwd=lamp)
    assert done.returncode == 1
    assert "base.epoch" in done.stderr
    assert "fit.pull" in done.stderr
    assert not (lamp / "out").exists()


def test_steps_in_the_wrong_order_say_what_comes_first(hydra_ray, lamp: Path):
    assert "hydra-ray train" in hydra_ray("fit", "s.yaml", cwd=lamp).stderr
    # Own answers alone teach one worker.
    done = hydra_ray("train", "s.yaml", "data.max_users=1", "base.workers=9", cwd=lamp)
    assert "Raise feedback.pseudo_queries" in done.stderr


def test_the_module_runs_as_a_program(lamp: Path):
    command = [sys.executable, "-m", "hydra_ray", "train", "s.yaml", "base.epoch=3"]
    done = subprocess.run(command, cwd=lamp, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "base.epoch: no such setting" in done.stderr


def test_a_report_needs_dumps_and_says_where_they_come_from(hydra_ray, lamp: Path):
    done = hydra_ray("report", "s.yaml", "nowhere", cwd=lamp)
    assert (done.returncode, done.stderr) == (1, "error: nowhere: there are no dumps; hydra-ray evaluate writes them\n")


def test_a_comparison_that_cannot_be_made_says_so_before_anything_is_asked(hydra_ray, lamp: Path):
    done = hydra_ray("evaluate", "s.yaml", "evaluate.methods=[rag, magic]", cwd=lamp)
    assert "there is no magic; there are zero-shot, icl, rag" in done.stderr
    done = hydra_ray("reproduce", "somebody", "s.yaml", cwd=lamp)
    assert done.returncode == 2
    assert "hydra" in done.stderr
    assert not (lamp / "out").exists()


COMMANDS = ["demo", "settings", "collect", "train", "fit", "profile", "evaluate", "reproduce", "report", "serve"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(hydra_ray, command: str, tmp_path: Path):
    done = hydra_ray(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.split()) > 20
