from dataclasses import asdict, fields, replace

import pytest

from hydra_ray.settings import SettingsError, parse_settings
from hydra_ray.steps.profiles.prompts import PLACEHOLDERS, ProfilePrompts, check_template, fill


def test_every_template_has_its_placeholders():
    defaults = asdict(ProfilePrompts())
    assert defaults.keys() == PLACEHOLDERS.keys()
    for name, text in defaults.items():
        assert check_template(name, text) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Summarise $histry", r"nobody fills \$histry; \$differences, \$history is missing"),
        ("$history, $differences and $own", r"^nobody fills \$own \(its placeholders: \$differences, \$history\)$"),
        ("$history", r"^\$differences is missing"),
        ("$history $differences for 5$", r"write \$\$ for a dollar sign"),
    ],
)
def test_a_placeholder_that_nobody_fills_or_that_is_missing_is_told(text, told):
    with pytest.raises(ValueError, match=told):
        check_template("summary", text)


def test_what_fills_a_template_is_taken_as_it_is():
    assert fill('{"a": $history} for $$5', history="$own {x} $history") == '{"a": $own {x} $history} for $5'


def test_settings_refuse_wrong_templates_with_their_paths():
    wrong = {"profile": {"items": 0, "prompts": {"difference": "Compare $own", "telling": "$profile $user"}}}
    with pytest.raises(SettingsError) as caught:
        parse_settings(wrong)
    told = str(caught.value)
    assert "3 setting(s) to mend" in told
    assert "profile.prompts.difference: Value error, $others is missing" in told
    assert "profile.prompts.telling: Value error, nobody fills $user" in told
    assert "profile.items: " in told


def test_settings_begin_with_the_same_templates():
    prompts = parse_settings({"profile": {"prompts": {"telling": "Know: $profile"}}}).profile.prompts
    assert ProfilePrompts(**prompts.model_dump()) == replace(ProfilePrompts(), telling="Know: $profile")
    assert {field.name for field in fields(ProfilePrompts)} == set(type(prompts).model_fields)
