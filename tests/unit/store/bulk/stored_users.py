"""Users with something in every table, and all that a store tells of them."""

from contextlib import closing

import torch

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import ProfileFingerprint, UserProfile
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding

ANN, BOB, EVE = UserKey("acme", "ann"), UserKey("acme", "Bob"), UserKey("other", "éve")
HEAD = Head("facets", {"mix": torch.tensor([1.0, 2.0])}, {"prior_weight": 0.5})
BASES = Head("bases", {"mean": torch.zeros(4), "spread": torch.eye(4)}, {"pull": 1.0})
SEEN = torch.ones(2, 6, dtype=torch.float16).numpy().tobytes()


def fill(url):
    store = open_store(url)
    films = [
        HistoryItem(f"film {number}", f"a robot\n{number}", "sci-fi", "2003", "f1", "title") for number in range(3)
    ]
    store.put_histories({ANN: films, BOB: films[:1], EVE: [HistoryItem("x", "日本", "🎬")]})
    store.delete_item(ANN, "film 1")
    store.put_heads("v1", "adapter", {ANN: BASES, BOB: HEAD, EVE: None}, {ANN: "made from"})
    store.put_observations("v1", "adapter", {ANN: {"film 0": SEEN, "rejected": SEEN}})
    encoded = [ItemEncoding(item, item.id.encode(), b"numbers") for item in (films[0], films[2])]
    with closing(open_database(url)) as database:
        assert EncodingStore(database).put("minilm", {ANN: encoded}) == 2
    profile = UserProfile("dpl", "hers", ProfileFingerprint("how", "what", 2), (BOB,), True, 3)
    assert store.put_profiles([(ANN, profile)]) == 1
    store.close()


def plain(head):
    return head.kind, head.about, {name: tensor.tolist() for name, tensor in head.tensors.items()}


def content(target):
    """All that a store tells of its users, apart from when it was written."""
    store = open_store(target)
    users = [ANN, BOB, EVE]
    told = {
        "histories": {key: store.history(key) for key in users},
        "changes": {key: store.history_change(key, None).added for key in users},
        "fingerprints": store.head_fingerprints("v1", "adapter"),
        "heads": {key: plain(head) for key, (_, head, _) in store.heads(users, "v1", "adapter").items()},
        "observations": store.observations(users, "v1", "adapter"),
        "encodings": {key: store.records.rows(key)["item_encodings"] for key in users},
        "profiles": {key: store.profile(key, "dpl") for key in users},
        "next": {key: store.history_version(key)[1:] for key in users if store.history_version(key)},
    }
    marks = {key: (store.history_version(key), store.stamps([key], "v1", "adapter")) for key in users}
    store.close()
    return told, marks


def without_encodings(told):
    """What a Parquet folder brings of it."""
    return {**told, "encodings": {key: [] for key in told["encodings"]}}
