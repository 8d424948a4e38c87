"""What the demo says of itself before it starts."""

import re

from hydra_ray.demo import expected_time

LAYER = {"float32": 0.010, "bfloat16": 0.002}


def minutes(precision):
    (number,) = re.findall(r"about (\d+) minutes", expected_time(precision, LAYER))
    return int(number)


def test_it_says_how_long_it_takes_in_the_arithmetic_that_is_used():
    assert "encoders run in bfloat16" in expected_time("bfloat16", LAYER)
    assert minutes("float32") > minutes("bfloat16") > 0


def test_half_as_fast_a_processor_takes_longer_but_not_twice_as_long():
    slower = {name: 2 * seconds for name, seconds in LAYER.items()}
    (number,) = re.findall(r"about (\d+) minutes", expected_time("float32", slower))
    assert minutes("float32") < int(number) < 2 * minutes("float32")
