"""Settings of a generated data set: what they mean, and what is refused."""

import pytest

from tune_encoder.config import GenerationSettings, from_mapping
from tune_encoder.errors import ConfigError


def read(**given):
    return from_mapping(GenerationSettings, given, "command line")


def test_lists_and_ranges_are_read_from_their_text():
    settings = read(steps="5, 8,10", speed="0.9:1.1", langs="en, ko,en")

    assert settings.step_choices == (5, 8, 10)
    assert settings.speed_range == (0.9, 1.1)
    assert settings.languages == ("en", "ko")


def test_one_speed_and_no_language_are_allowed():
    assert read(speed="1.05").speed_range == (1.05, 1.05)
    assert read().languages == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"steps": "2,5"},
            r"line: steps is '2,5'; each must be from 5 to 100, since speech of fewer",
        ),
        ({"steps": "many"}, r"steps is 'many'; write whole numbers, such as 5,10"),
        ({"steps": ""}, r"steps is ''; write whole numbers, such as 5,10"),
        ({"speed": "fast"}, r"speed is 'fast'; write a number, or a range such as 0\.9:1\.15"),
        (
            {"speed": "1.2:0.9"},
            r"speed is '1\.2:0\.9'; it must be a range from 0\.7 to 2\.0, lower",
        ),
        ({"speed": "0.5"}, r"speed is '0\.5'; it must be a range from 0\.7 to 2\.0"),
        ({"speed": "nan"}, r"speed is 'nan'; it must be a range from 0\.7 to 2\.0"),
        ({"voices": 0}, r"voices is 0; it must be a whole number from 1 to 1e\+06"),
        ({"convex_share": 1.5}, r"convex_share is 1\.5; it must be a number from 0 to 1"),
        ({"spread": 0.0}, r"spread is 0\.0; it must be a number from 0\.1 to 4"),
    ],
)
def test_what_cannot_be_spoken_is_refused_with_what_can(given, message):
    with pytest.raises(ConfigError, match=message):
        read(**given)
