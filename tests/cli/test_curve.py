from tune_encoder.cli.curve import draw_curve


def test_a_curve_falls_from_corner_to_corner():
    lines = draw_curve([1, 2, 9], [8.0, 7.0, 0.0], "val_loss", 20, braille=False)

    assert lines == [
        "val_loss",
        "        8 |*",
        "          | *",
        "          |  *",
        "          |   *",
        "          |    **",
        "          |      *",
        "          |       *",
        "        0 |        *",
        "          +---------",
        "           1 epoch 9",
    ]


def test_a_level_curve_is_a_line_of_braille_dots():
    lines = draw_curve([1, 2], [0.5, 0.5], "val_loss", 20, braille=True)

    assert lines[1] == f"      0.5 │{'⠉' * 9}"
    assert lines[2] == "          │"
