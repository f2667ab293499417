import pytest

from tune_encoder.tuning.worker.file_sync import FileSender, apply_delta


@pytest.fixture
def folders(tmp_path):
    """A run's folder on a node, and where its files are to be."""
    (tmp_path / "here" / "logs").mkdir(parents=True)
    return tmp_path / "here", tmp_path / "there"


def test_each_parcel_has_what_was_added_since_the_last(folders):
    here, there = folders
    sender = FileSender(here)
    for line in (b"one\n", b"two\n"):
        for name in ("metrics.jsonl", "logs/events.1"):
            with (here / name).open("ab") as file:
                file.write(line)
        delta = sender.next_delta()
        assert [content for *_, content in delta] == [line, line]
        apply_delta(delta, there)

    assert sender.next_delta() == []
    assert (there / "metrics.jsonl").read_bytes() == b"one\ntwo\n"
    assert (there / "logs" / "events.1").read_bytes() == b"one\ntwo\n"


def test_a_file_that_was_written_anew_is_sent_whole(folders):
    here, there = folders
    sender = FileSender(here)
    for content in (b"a longer text", b"another"):
        (here / "metrics.jsonl").write_bytes(content)
        apply_delta(sender.next_delta(), there)

    assert (there / "metrics.jsonl").read_bytes() == b"another"


def test_a_run_that_goes_on_elsewhere_replaces_its_metrics_and_adds_its_logs(folders, tmp_path):
    here, there = folders
    (here / "metrics.jsonl").write_bytes(b"one\ntwo\n")
    (here / "logs" / "events.1").write_bytes(b"first")
    apply_delta(FileSender(here).next_delta(), there)
    later = tmp_path / "later"
    (later / "logs").mkdir(parents=True)
    (later / "metrics.jsonl").write_bytes(b"one\n")
    (later / "logs" / "events.2").write_bytes(b"second")

    apply_delta(FileSender(later).next_delta(), there)

    assert (there / "metrics.jsonl").read_bytes() == b"one\n"
    assert (there / "logs" / "events.1").read_bytes() == b"first"
    assert (there / "logs" / "events.2").read_bytes() == b"second"
