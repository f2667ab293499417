"""What `--metrics` refuses before anything is connected."""

import pytest

from tune_encoder.cli import main


def test_a_submitted_search_that_is_to_export_metrics_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["resume", "mine", "--metrics", "--address", "http://127.0.0.1:1"])

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said == (
        "tune-encoder: metrics: a submitted search exports none; leave the option out, or resume "
        "it on a node with --address HOST:PORT\n"
    )
