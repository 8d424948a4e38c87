import json

import pytest
import torch
from made_up_users import make_head, make_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from hydra_ray.models.heads import HEAD_KINDS, Head
from hydra_ray.records import HydraError, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.shards import export_heads, import_heads

ABOUT = ("v1", "adapter")
NAMESAKE = UserKey("zeta", "user 0")


@pytest.fixture(params=["sqlite", "memory"])
def make_store(request, tmp_path):
    opened = []

    def make(name):
        opened.append(open_store(f"{request.param}:///{tmp_path / name}.db"))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture(scope="module")
def heads():
    """Users with heads of every kind, of two ranks, and some with a weight of their own."""
    model, kinds = make_model(), list(HEAD_KINDS)
    made = {
        UserKey("acme", f"user {seed}"): make_head(model, kinds[seed % len(kinds)], seed, rank=2 + seed % 3)
        for seed in range(12)
    }
    made[NAMESAKE] = Head("lowrank", made[UserKey("acme", "user 0")].tensors, {"prior_weight": 0.25})
    return made


@pytest.fixture
def store(make_store, heads):
    store = make_store("from")
    store.put_heads(*ABOUT, heads, {key: f"mark of {key.tenant} {key.user}" for key in heads})
    store.put_heads("v1", "reranker", {NAMESAKE: heads[NAMESAKE]})
    store.put_heads("v2", "adapter", {NAMESAKE: heads[NAMESAKE]})
    return store


@pytest.fixture
def folder(store, tmp_path):
    assert export_heads(store, *ABOUT, tmp_path / "heads") == 13
    return tmp_path / "heads"


def about(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["about"])


def rewrite(path, **changes):
    save_file(load_file(path), path, metadata={"about": json.dumps({**about(path), **changes})})


@pytest.mark.parametrize("users_per_shard", [1, 4, 10_000])
def test_heads_of_all_kinds_move_to_another_store(store, make_store, heads, tmp_path, users_per_shard):
    assert export_heads(store, *ABOUT, tmp_path / "heads", users_per_shard) == len(heads)
    target = make_store("to")
    assert import_heads(target, *ABOUT, tmp_path / "heads") == len(heads)
    assert target.head_fingerprints(*ABOUT) == store.head_fingerprints(*ABOUT)
    for key, (_, found, _) in target.heads(heads, *ABOUT).items():
        assert (found.kind, found.about) == (heads[key].kind, heads[key].about)
        assert_close(found.tensors, heads[key].tensors, atol=0, rtol=0)
    assert target.users_with_head("v1", "reranker") == target.users_with_head("v2", "adapter") == []


def test_a_shard_holds_no_more_users_than_told_side_by_side(store, tmp_path):
    export_heads(store, *ABOUT, tmp_path / "heads", users_per_shard=4)
    shards = sorted((tmp_path / "heads").iterdir())
    assert [path.name for path in shards] == [f"adapter-{number:05d}.safetensors" for number in range(len(shards))]
    for path in shards:
        counts = {len(tensor) for tensor in load_file(path).values()}
        assert counts == {len(about(path)["users"])}
        assert counts <= {1, 2, 3, 4}


def test_users_of_one_kind_and_size_share_a_shard(make_store, heads, tmp_path):
    store = make_store("alike")
    bases = next(head for head in heads.values() if head.kind == "bases")
    store.put_heads(*ABOUT, {UserKey("acme", f"user {number}"): bases for number in range(5)})
    export_heads(store, *ABOUT, tmp_path / "heads")
    (path,) = (tmp_path / "heads").iterdir()
    assert load_file(path)["mean"].shape == (5, 16)


def test_a_new_export_leaves_nothing_of_the_old_one_of_its_role(store, folder, heads):
    export_heads(store, "v1", "reranker", folder)
    for key in heads:
        if key != NAMESAKE:
            store.delete(key)
    assert export_heads(store, *ABOUT, folder) == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter-00000.safetensors",
        "reranker-00000.safetensors",
    ]


def test_imported_heads_replace_those_of_the_same_users_only(folder, make_store, heads):
    target, other = make_store("to"), UserKey("acme", "another")
    target.put_heads(*ABOUT, {NAMESAKE: Head("facets", {"mix": torch.zeros(6)}), other: heads[NAMESAKE]})
    import_heads(target, *ABOUT, folder)
    assert target.head(NAMESAKE, *ABOUT).kind == "lowrank"
    assert_close(target.head(other, *ABOUT).tensors, heads[NAMESAKE].tensors)


def test_exporting_nobody_writes_nothing_and_importing_that_says_what_to_do(make_store, tmp_path):
    assert export_heads(make_store("empty"), *ABOUT, tmp_path / "heads") == 0
    with pytest.raises(HydraError, match=r"heads: there is no adapter-\*\.safetensors; `hydra-ray heads export`"):
        import_heads(make_store("to"), *ABOUT, tmp_path / "heads")


def test_heads_of_another_base_are_refused(folder, make_store):
    with pytest.raises(HydraError, match=r"heads of the adapter of base v1 mean nothing to the adapter of base v2"):
        import_heads(make_store("to"), "v2", "adapter", folder)


def test_heads_of_another_role_are_refused(folder, make_store):
    (folder / "adapter-00000.safetensors").rename(folder / "reranker-00000.safetensors")
    with pytest.raises(HydraError, match=r"reranker-00000\.safetensors: .* mean nothing to the reranker of base v1"):
        import_heads(make_store("to"), "v1", "reranker", folder)


@pytest.mark.parametrize("changes", [{"schema": "hydra-ray/heads/v9"}, {"kind": "towers"}])
def test_an_unknown_schema_or_kind_is_refused(folder, make_store, changes):
    path = folder / "adapter-00000.safetensors"
    rewrite(path, **changes)
    with pytest.raises(HydraError, match=rf"{path}: schema .*{next(iter(changes.values()))}"):
        import_heads(make_store("to"), *ABOUT, folder)


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 64])
def test_a_damaged_file_is_named(folder, make_store, content):
    path = folder / "adapter-00001.safetensors"
    path.write_bytes(content)
    with pytest.raises(HydraError, match=rf"^{path}: damaged"):
        import_heads(make_store("to"), *ABOUT, folder)


def test_a_file_cut_short_is_named(folder, make_store):
    path = folder / "adapter-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(HydraError, match=rf"^{path}: damaged"):
        import_heads(make_store("to"), *ABOUT, folder)


def test_a_file_of_other_tensors_is_refused(folder, make_store):
    path = folder / "adapter-00000.safetensors"
    save_file({"weights": torch.zeros(3)}, path)
    with pytest.raises(HydraError, match=rf"^{path}: schema None"):
        import_heads(make_store("to"), *ABOUT, folder)


def test_users_and_parameters_of_different_number_are_refused(folder, make_store):
    path = folder / "adapter-00000.safetensors"
    rewrite(path, users=[*about(path)["users"], ["acme", "one more", ""]])
    with pytest.raises(HydraError, match=rf"^{path}: damaged: it names \d users"):
        import_heads(make_store("to"), *ABOUT, folder)


def test_evidence_moves_with_the_heads_it_belongs_to(make_store, tmp_path):
    first, second = make_store("first"), make_store("second")
    users = {UserKey("acme", name): Head("bases", {"mean": torch.full((2,), 1.0)}) for name in ("ann", "bob")}
    observed = {key: {"a": b"1" + key.user.encode(), "b": b"\x00\xff"} for key in users}
    first.put_heads("v1", "adapter", users)
    first.put_observations("v1", "adapter", observed)
    export_heads(first, "v1", "adapter", tmp_path / "shards")
    second.put_observations("v1", "adapter", {next(iter(users)): {"old": b"x"}})
    assert import_heads(second, "v1", "adapter", tmp_path / "shards") == 2
    assert second.observations(users, "v1", "adapter") == observed, "and what was there before is gone"
    (observations,) = (tmp_path / "shards").glob("*.parquet")
    observations.write_bytes(b"PAR1")
    with pytest.raises(HydraError, match="damaged"):
        import_heads(second, "v1", "adapter", tmp_path / "shards")


@pytest.mark.parametrize("about", ["[]", "{}", '{"schema": "hydra-ray/heads/v1", "kind": "bases"}'])
def test_a_shard_whose_metadata_lack_something_is_named(store, tmp_path, about):
    save_file({"mean": torch.zeros(1, 2)}, tmp_path / "adapter-00000.safetensors", metadata={"about": about})
    with pytest.raises(HydraError, match="adapter-00000"):
        import_heads(store, "v1", "adapter", tmp_path)


def test_who_was_deleted_does_not_come_back_with_old_heads(folder, heads, make_store, item):
    target = make_store("to")
    gone, back, *_ = sorted(heads)
    for key in (gone, back):
        target.delete(key)
    target.append_history(back, item("a"))
    assert import_heads(target, *ABOUT, folder) == len(heads) - 1
    assert set(target.users_with_head(*ABOUT)) == heads.keys() - {gone}
