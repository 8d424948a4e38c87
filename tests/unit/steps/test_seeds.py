from hydra_ray.records import UserKey
from hydra_ray.steps.seeds import stable_seed


def test_a_seed_is_the_same_in_every_process_and_release():
    # Pinned: another hash would make all cached answers and drawn plans worthless.
    assert stable_seed(7, UserKey("acme", "ann"), "q1") == 2051499693
    assert stable_seed() == 1954132660


def test_every_part_and_their_order_matter():
    seeds = [
        stable_seed("a", "b"),
        stable_seed("b", "a"),
        stable_seed("ab"),
        stable_seed("a", "b", ""),
        stable_seed(0, UserKey("a", "b")),
        stable_seed(0, UserKey("b", "a")),
        stable_seed(1, UserKey("a", "b")),
    ]
    assert len(set(seeds)) == len(seeds)


def test_seeds_fit_31_bits_and_spread_over_them():
    seeds = [stable_seed(number) for number in range(1000)]
    assert len(set(seeds)) == 1000
    assert min(seeds) >= 0
    assert 2**30 < max(seeds) < 2**31
