import pytest

from tune_encoder.data.pairing import matching_name


@pytest.mark.parametrize(
    ("stem", "names", "expected"),
    [
        ("anna", ["anna"], "anna"),
        ("anna_01", ["anna"], "anna"),
        ("anna-2", ["anna"], "anna"),
        ("anna.take", ["anna"], "anna"),
        ("anna 3", ["anna"], "anna"),
        ("annabel", ["anna"], None),
        ("F10", ["F1"], None),
        ("F10", ["F1", "F10"], "F10"),
        ("anna_low_1", ["anna", "anna_low"], "anna_low"),
        ("ann", ["anna"], None),
        ("Anna", ["anna"], None),
    ],
)
def test_a_recording_takes_the_longest_style_name_before_a_separator(stem, names, expected):
    assert matching_name(stem, names) == expected
