"""Export, deletion and import give equal answers, in either form of the document."""

import json
from contextlib import closing

import pytest
import torch
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.rights.document import export_user, import_user, read_document, to_parquet
from hydra_ray.store.cache import HeadCache
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import ProfileFingerprint, UserProfile
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
ITEMS = [HistoryItem("b", "second \u738b", "x", "2026"), HistoryItem("a", "first", "y", None, "film-1", "more")]
MADE_FROM = ProfileFingerprint("h", "w", 2)


@pytest.fixture
def known(store):
    store.put_histories({ANN: ITEMS, BOB: [HistoryItem("z", "bob's", "q")]})
    store.put_heads("v1", "adapter", {ANN: Head("dense", {"weight": torch.arange(3.0)}, {"pull": 0.5})}, {ANN: "mark"})
    store.put_observations("v1", "adapter", {ANN: {"a": b"\x00\xff told"}})
    store.put_profiles([(ANN, UserProfile("pag", "Patient.", MADE_FROM))])
    store.put_profiles([(ANN, UserProfile("dpl", "Unlike others.", MADE_FROM, (BOB,)))])
    return store


def answers(store, key=ANN):
    """All that an answer is made of."""
    head = store.head(key, "v1", "adapter")
    profiles = [store.profile(key, kind) for kind in ("pag", "dpl")]
    numbers = head and (head.kind, head.tensors["weight"].tolist(), head.about)
    return store.history(key), numbers, store.observations([key], "v1", "adapter"), profiles


@pytest.mark.parametrize("form", [lambda document: json.dumps(document).encode(), to_parquet], ids=["json", "parquet"])
def test_who_is_exported_deleted_and_imported_has_the_same_answers(known, form):
    before, cache = answers(known), HeadCache(known, "v1", "adapter", 1 << 20)
    others, counts = answers(known, BOB), known.records.counts(ANN)
    assert cache([ANN])[0] is not None
    content = form(export_user(known, ANN, others=True))
    known.delete(ANN)
    assert answers(known) == ((), None, {}, [None, None])
    assert import_user(known, read_document(content, "ann"))[0] == ANN
    assert answers(known) == before
    assert answers(known, BOB) == others
    assert known.records.counts(ANN) == counts
    assert cache([ANN])[0].tensors["weight"].tolist() == [0, 1, 2]
    # The profile still goes with the one whose texts it was made with.
    known.delete(BOB)
    assert known.profile(ANN, "dpl") is None


def test_an_export_has_the_encodings_of_the_items_and_an_import_trusts_none(known, tmp_path):
    encoded = [ItemEncoding(item, item.id.encode(), b"numbers") for item in ITEMS]
    with closing(open_database(f"sqlite:///{tmp_path / 'users.db'}")) as database:
        EncodingStore(database).put("minilm", {ANN: encoded})
    document = export_user(known, ANN, others=True)
    assert {row["item"] for row in document["tables"]["item_encodings"]} == {"a", "b"}
    known.delete(ANN)
    import_user(known, document)
    assert known.history(ANN) == tuple(ITEMS)
    assert known.records.counts(ANN)["item_encodings"] == 0


def test_what_is_handed_out_names_nobody_else_and_an_import_of_it_leaves_profiles_to_be_written_anew(known):
    document = export_user(known, ANN, others=False)
    assert "bob" not in json.dumps(document)
    assert document["left_out"] == {"profile_peers": 1}
    known.delete(ANN)
    import_user(known, document)
    assert known.history(ANN) == tuple(ITEMS)
    assert known.profile(ANN, "pag") is known.profile(ANN, "dpl") is None


def test_history_that_a_replica_kept_from_before_is_not_taken_for_what_was_imported(known):
    document = export_user(known, ANN, others=True)
    known.append_history(ANN, HistoryItem("c", "newer", "w"))
    version = known.history_version(ANN)
    known.delete(ANN)
    import_user(known, document)
    change = known.history_change(ANN, version)
    assert change.is_whole
    assert [item for _, item in change.added] == ITEMS


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[1]", "it is no JSON object"),
        (b"nothing", "not what `hydra-ray users export` writes"),
        (b"PAR1 but no more", "not what `hydra-ray users export` writes"),
        (b"{}", "schema None: this version reads 'hydra-ray/user/v1'"),
        (b'{"schema": "hydra-ray/user/v1"}', "damaged: KeyError"),
        (b'{"schema": "hydra-ray/user/v1", "tenant": "t", "user": "u", "tables": {"x": 1}}', "damaged: TypeError"),
    ],
)
def test_a_file_that_is_no_export_is_refused(store, content, why):
    with pytest.raises(HydraError, match=why):
        import_user(store, read_document(content, "file"))


@pytest.mark.parametrize("name", ["ann.json", "ann.parquet"])
def test_the_commands_move_a_user_between_stores(known, tmp_path, name):
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"tenant: acme\nout: {tmp_path}\n")
    run = CliRunner().invoke
    assert "2 of history" in run(app, ["users", "export", str(settings), "ann", str(tmp_path / name)]).output
    again = ["users", "import", str(settings), str(tmp_path / name)]
    assert "known of them already" in str(run(app, again).exception)
    before = answers(known)
    known.delete(ANN)
    assert "User ann of tenant acme" in run(app, again).output
    assert answers(known) == before
    elsewhere = ["users", "import", str(settings), str(tmp_path / name), f"model.store=sqlite:///{tmp_path}/other.db"]
    assert run(app, elsewhere).exit_code == 0
