import json
from dataclasses import replace

import pytest
import torch
from defaults import load_base
from made_up_users import make_head
from safetensors.torch import load_file
from torch.testing import assert_close

from hydra_ray.models.base import ADAPTER, RERANKER, ROLES, Base, read_about, roles_of
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HydraError

DECISIONS = [("drama", "two cats", ("comedy",)), ("comedy", "two cats", ("comedy",))]


@pytest.fixture
def base(scorer, tag_task):
    return Base("v1", tag_task, scorer(seed=1), scorer(seed=2))


@pytest.fixture
def newer(scorer, tag_task):
    return Base("v2", tag_task, scorer(seed=3), scorer(seed=4))


def scores(base):
    return [base.scorer(role).score(DECISIONS, [None, None]) for role in ROLES]


def test_what_was_saved_comes_back(base, tmp_path):
    folder = tmp_path / "model" / "base"
    base.save(folder)
    loaded = load_base(folder)
    assert (loaded.version, loaded.task, loaded.roles) == read_about(folder) == ("v1", base.task, ROLES)
    assert_close(scores(loaded), scores(base))
    # Else the roles could be swapped unnoticed.
    assert (scores(base)[0] - scores(base)[1]).abs().max() > 0.1


def test_a_base_is_never_written_over_another(base, newer, tmp_path):
    base.save(tmp_path)
    with pytest.raises(FileExistsError):
        newer.save(tmp_path)
    assert load_base(tmp_path).version == "v1"
    assert_close(scores(load_base(tmp_path)), scores(base))


def test_a_save_that_breaks_off_leaves_no_base(base, tmp_path, monkeypatch):
    save = Scorer.save

    def fail_at_adapter(self, folder):
        save(self, folder)
        if self is base.adapter:
            raise OSError("disk full")

    monkeypatch.setattr(Scorer, "save", fail_at_adapter)
    with pytest.raises(OSError, match="disk full"):
        base.save(tmp_path)
    with pytest.raises(HydraError, match="holds no trained base"):
        load_base(tmp_path)


def test_a_missing_base_says_what_to_do(tmp_path):
    with pytest.raises(HydraError, match=rf"^model\.dir: {tmp_path} holds no trained base; run `hydra-ray train`"):
        load_base(tmp_path)


@pytest.mark.parametrize("schema", ["hydra-ray/base/v4", None])
def test_a_base_of_another_schema_is_refused(base, tmp_path, schema):
    folder = tmp_path / "base"
    base.save(folder)
    about = json.loads((folder / "base.json").read_text())
    (folder / "base.json").write_text(json.dumps({**about, "schema": schema}))
    with pytest.raises(HydraError, match=rf"has schema {schema!r}, not 'hydra-ray/base/v6'"):
        load_base(folder)


def test_a_base_without_a_reranker_says_so_where_one_is_wanted(scorer, tag_task, tmp_path):
    base = Base("v1", tag_task, None, scorer(seed=2))
    base.save(tmp_path)
    loaded = load_base(tmp_path)
    assert loaded.roles == read_about(tmp_path).roles == (ADAPTER,)
    assert_close(loaded.scorer(ADAPTER).score(DECISIONS, [None, None]), base.adapter.score(DECISIONS, [None, None]))
    assert not (tmp_path / RERANKER).exists()
    said = r"^method\.rerank: version v1 has no reranker\. Train again with method\.rerank: true"
    with pytest.raises(HydraError, match=said):
        loaded.scorer(RERANKER)
    with pytest.raises(HydraError, match=said):
        roles_of("v1", loaded.roles, rerank=True)
    assert roles_of("v1", ROLES, rerank=False) == (ADAPTER,)
    assert roles_of("v1", ROLES, rerank=True) == ROLES


def test_a_base_of_before_there_could_be_no_reranker_has_both(base, tmp_path):
    base.save(tmp_path)
    about = json.loads((tmp_path / "base.json").read_text())
    assert about.pop("roles") == [*ROLES]
    (tmp_path / "base.json").write_text(json.dumps({**about, "schema": "hydra-ray/base/v5"}))
    assert load_base(tmp_path).roles == read_about(tmp_path).roles == ROLES


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_base_is_refused(tmp_path, content):
    (tmp_path / "base.json").write_text(content)
    with pytest.raises(HydraError, match=r"^model\.dir: "):
        load_base(tmp_path)


def test_a_published_base_holds_no_users_head(base, tmp_path):
    head = make_head(base.adapter.heads, "lowrank", seed=0)
    head = replace(head, tensors={name: torch.full_like(p, 7.0) for name, p in head.tensors.items()})
    base.adapter.score(DECISIONS, [head, head])
    base.save(tmp_path / "base")
    tensors = {path: load_file(path) for path in (tmp_path / "base").rglob("*.safetensors")}
    assert not [path for path, held in tensors.items() for tensor in held.values() if (tensor == 7.0).all()]
    names = {name for path, held in tensors.items() if path.name == "heads.safetensors" for name in held}
    assert names == set(base.adapter.heads.state_dict())
    assert {path.name for path in (tmp_path / "base").iterdir()} == {"base.json", *ROLES}
