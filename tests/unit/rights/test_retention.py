"""What is older than settings say is forgotten, and heads know nothing of it."""

from contextlib import closing
from dataclasses import replace

import pytest
import torch
from sqlalchemy import create_engine
from torch.testing import assert_close

from hydra_ray.models.heads import Head
from hydra_ray.models.heads.online import head_of, pack
from hydra_ray.records import HistoryItem, HydraError, Usage, UserKey
from hydra_ray.rights.retention import expire
from hydra_ray.settings import parse_settings
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.completions.records import Completion, Offer
from hydra_ray.store.schema import open_database
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding

ANN, BOB, EVE = UserKey("acme", "ann"), UserKey("zeta", "bob"), UserKey("acme", "eve")
# 2026-05-01 in UTC, and 90 days before is 2026-01-31.
NOW = 1_777_593_600
OLD = [HistoryItem("day", "a", "x", "2026-01-30"), HistoryItem("year", "b", "x", "2024")]
NEW = [HistoryItem("then", "c", "y", "2026-01-31"), HistoryItem("this year", "d", "y", "2026")]


def observed(*numbers):
    return pack(torch.tensor([[*numbers, 0, 1], [0, 0, 0, 0]]).half())


@pytest.fixture
def settings(store, tmp_path):
    return parse_settings({"out": str(tmp_path), "store": {"retention_days": 90}})


def test_of_all_tenants_what_is_too_old_goes_and_the_rest_stays(store, settings):
    store.put_histories({ANN: [OLD[0], *NEW], BOB: OLD, EVE: NEW})
    version = store.history_version(EVE)
    report = expire(settings, NOW)
    assert (report.changed, report.forgotten, report.undated) == (2, 3, 0)
    assert (store.history(ANN), store.history(BOB), store.history(EVE)) == (tuple(NEW), (), tuple(NEW))
    assert store.history_version(EVE) == version
    assert expire(settings, NOW).forgotten == 0


def test_encodings_go_with_what_is_forgotten(store, settings):
    store.put_histories({ANN: [OLD[0], NEW[0]]})
    encoded = [ItemEncoding(item, item.id.encode(), b"numbers") for item in (OLD[0], NEW[0])]
    with closing(open_database(settings.store_target)) as database:
        EncodingStore(database).put("minilm", {ANN: encoded})
    expire(settings, NOW)
    assert [row["item"] for row in store.records.rows(ANN)["item_encodings"]] == ["then"]


def test_heads_are_as_if_what_is_forgotten_had_never_been_there(store, settings):
    told = {"day": observed(1, 0), "then": observed(0, 1), "a rejection": observed(1, 1)}
    left = {item: blob for item, blob in told.items() if item != "day"}
    store.put_histories({ANN: [OLD[0], NEW[0]], BOB: OLD, EVE: NEW})
    about = {"pull": 0.05, "temperature": 0.03}
    store.put_observations("v1", "adapter", {ANN: told, BOB: {"day": observed(1, 0)}})
    store.put_heads("v1", "adapter", {ANN: head_of(list(told.values()), 2, "listwise", about)})
    store.put_heads("v1", "adapter", {BOB: head_of([observed(1, 0)], 2, "listwise", about)})
    dense = Head("dense", {"weight": torch.ones(2)})
    store.put_heads("v1", "reranker", {ANN: dense, EVE: dense}, {ANN: "mark", EVE: "mark"})
    report = expire(settings, NOW)
    assert (report.refitted, report.removed) == (2, 1)
    fresh, now = head_of(list(left.values()), 2, "listwise", about), store.head(ANN, "v1", "adapter")
    assert_close(now.tensors, fresh.tensors)
    assert store.observations([ANN], "v1", "adapter") == {ANN: left}
    assert store.head(BOB, "v1", "adapter") is None
    # Those that do not tell what they know are fitted anew by the next fit, which finds no mark.
    assert store.head(ANN, "v1", "reranker") is None
    assert store.head_fingerprints("v1", "reranker") == {EVE: "mark"}


def test_without_a_date_an_item_is_as_old_as_its_row_and_else_it_is_kept_and_counted(store, settings, tmp_path):
    store.put_histories({ANN: [HistoryItem(name, name, "x", ts) for name, ts in (("a", None), ("b", "soon"))]})
    store.put_histories({BOB: [HistoryItem("c", "c", "x")], EVE: [HistoryItem("d", "d", "x")]})
    engine = create_engine(f"sqlite:///{tmp_path / 'users.db'}")
    with engine.begin() as db:
        db.exec_driver_sql(f"UPDATE history SET stored_at = {NOW - 91 * 86_400} WHERE user = 'ann'")
        db.exec_driver_sql(f"UPDATE history SET stored_at = {NOW - 89 * 86_400} WHERE user = 'bob'")
        db.exec_driver_sql("UPDATE history SET stored_at = NULL WHERE user = 'eve'")
    engine.dispose()
    report = expire(settings, NOW)
    assert (report.forgotten, report.undated) == (2, 1)
    assert store.history(ANN) == ()
    assert store.history(BOB)
    assert store.history(EVE)
    assert "1 item(s) without a known age were kept" in str(report)


def test_what_was_forgotten_leaves_no_byte(store, settings, tmp_path):
    store.put_histories({ANN: [HistoryItem("a", "quokka " * 10, "x", "2020"), HistoryItem("b", "wombat", "x", "2026")]})
    expire(settings, NOW)
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"quokka" not in raw
    assert b"wombat" in raw


def test_without_an_age_nothing_is_forgotten(store, tmp_path):
    with pytest.raises(HydraError, match=r"store\.retention_days: no age is set"):
        expire(parse_settings({"out": str(tmp_path)}))


def test_completions_go_with_their_age_whoever_asked(store, settings, tmp_path):
    offers = (Offer("wombat " * 10, 1, 0.0),)
    made = {"id": "new", "tenant": "acme", "user": "ann", "input": "numbat " * 10, "candidates": offers}
    made |= {"created_s": NOW - 89 * 86_400.0, "history": (), "answered": 0, "degraded": (), "usage": Usage(1, 2, 3)}
    made |= {"request_id": "", "version": "v1", "method": "rag", "arm": None, "propensity": 1.0, "head": "none"}
    new = Completion(**made, seconds=0.5, streamed=False)
    old = replace(new, id="old", created_s=NOW - 91 * 86_400.0, input="quokka " * 10)
    nobodys = replace(old, id="nobodys", user=None, input=None, candidates=())
    with closing(open_database(settings.store_target)) as database:
        log = CompletionLog(database)
        log.add([new, old, nobodys])
        report = expire(settings, NOW)
        assert report.completions == 2
        assert log.of_user(ANN) == [new]
        assert log.count() == 1
    assert "2 completion(s) older than 90 days" in str(report)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("users.db*"))
    assert (b"quokka" in kept, b"numbat" in kept) == (False, True)
