"""Fingerprints, which folders and stores of earlier versions hold."""

from hydra_ray.fingerprint import fingerprint, records_fingerprint
from hydra_ray.records import UserKey


def test_fingerprints_of_earlier_versions_are_still_what_is_computed():
    values = ("adapter", None, 1.5, ["a", {"b": True, "a": "é"}])
    assert fingerprint(*values) == "2c45a0490f8b70be3c6d9ee5"
    assert fingerprint("pag", "classification", ["x", 2], size=16) == "05a0a0cb82a8853cf4238bf3dbd5c16c"
    config, rows = {"b": 1, "a": "x"}, {"z": [{"y": 1, "x": [0.5]}], "a": []}
    assert fingerprint(config, rows, size=6, sort_keys=True) == "53355ea19d82"


def test_fingerprints_of_records_of_earlier_versions_are_still_what_is_computed():
    golds = [("q1", "a"), ("q2", "b")]
    assert records_fingerprint([golds, ("t", "ü", None)]) == "76d1d4c482d095fd965ae003"
    shard = ("adapter", ((UserKey("t", "u"), "m"),))
    assert records_fingerprint([shard], size=8) == "49834c4e94496d15"


def test_a_fingerprint_keeps_values_apart():
    assert fingerprint("ab", "c") == fingerprint("ab", "c")
    assert fingerprint("ab", "c") != fingerprint("a", "bc")


def test_the_order_of_keys_counts_unless_it_is_left_out():
    assert fingerprint({"a": 1, "b": 2}) != fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1, "b": 2}, sort_keys=True) == fingerprint({"b": 2, "a": 1}, sort_keys=True)


def test_the_order_of_records_counts():
    assert records_fingerprint(["a", "b"]) != records_fingerprint(["b", "a"])
