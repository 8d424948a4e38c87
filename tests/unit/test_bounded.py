"""Memory is bounded in bytes whatever comes, and what was used last is there."""

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.bounded import BoundedCache, words_remembered

keys = st.sampled_from("abcd")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.integers(1, 7)),
        st.tuples(st.just("get"), keys, st.just(0)),
        st.tuples(st.just("drop"), keys, st.just(0)),
    ),
    max_size=30,
)


@given(steps=steps, most=st.integers(0, 12))
def test_what_was_used_last_is_kept_as_far_as_it_fits(steps, most):
    cache, used = BoundedCache(most), {}
    for number, (what, key, size) in enumerate(steps):
        had = used.pop(key, None)
        if what == "put":
            assert cache.put(key, number, size) is (size <= most)
            if size <= most:
                used[key] = number, size
            while sum(size for _, size in used.values()) > most:
                del used[next(iter(used))]
        elif what == "get":
            assert cache.get(key) == (had and had[0])
            if had:
                used[key] = had
        else:
            cache.drop(key)
        assert cache.nbytes == sum(size for _, size in used.values()) <= most
        assert len(cache) == len(used)


def test_a_value_that_is_too_large_pushes_nothing_out():
    cache = BoundedCache(10)
    cache.put("a", "small", 9)
    assert cache.put("b", "large", 11) is False
    assert (cache.get("a"), cache.get("b")) == ("small", None)


def counting(max_bytes):
    """What takes texts apart, and the texts that it did."""
    taken = []

    @words_remembered(max_bytes)
    def apart(text, sign=" "):
        taken.append(text)
        return tuple(text.split(sign))

    return apart, taken


def test_a_text_that_comes_again_is_not_taken_apart_again():
    apart, taken = counting(1 << 20)
    assert [apart("a b"), apart("c"), apart("a b")] == [("a", "b"), ("c",), ("a", "b")]
    assert taken == ["a b", "c"]
    # Another way to take it apart is another question.
    assert (apart("a b", "b"), apart("a b", sign="a")) == (("a ", ""), ("", " b"))


def test_words_stay_within_their_bytes_however_many_texts_come():
    apart, _ = counting(100_000)
    for number in range(2_000):
        apart(f"{number} " + "word " * (number % 10))
    assert 50_000 < apart.cache.nbytes <= 100_000


def test_a_very_long_text_is_not_remembered_and_pushes_nothing_out():
    apart, taken = counting(100_000)
    apart("short")
    for _ in range(2):
        assert len(apart("long " * 10_000)) == 10_001
    apart("short")
    assert taken == ["short", *["long " * 10_000] * 2]


def test_any_thread_may_use_it():
    apart, _ = counting(20_000)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: apart(f"{number % 50} words"), range(2_000)))
    assert found == [(str(number % 50), "words") for number in range(2_000)]
    assert apart.cache.nbytes <= 20_000
