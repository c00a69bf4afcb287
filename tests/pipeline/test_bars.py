import io

import pytest

from ser_nsl.pipeline.bars import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def start(monkeypatch):
    """Returns a function that starts a bar over 60 clips, and one that does a clip in 10 s."""

    def start(file: io.StringIO):
        now = [0.0]
        monkeypatch.setattr("tqdm.std.time", lambda: now[0])
        bar = Bar(total=60, desc="packing", unit="clip", file=file)

        def do_clip() -> None:
            now[0] += 10
            bar.set_postfix(loss="0.1")
            bar.update()

        return bar, do_clip

    return start


def test_a_file_has_a_line_a_minute_and_the_end(start):
    log = io.StringIO()
    bar, do_clip = start(log)
    for _ in range(60):
        do_clip()
    bar.close()
    bar.close()

    lines = log.getvalue().splitlines()
    assert 10 <= len(lines) <= 11
    assert all(line.startswith("packing: ") for line in lines)
    assert "\r" not in log.getvalue()
    assert "60/60" in lines[-1] and "loss=0.1" in lines[-1]


def test_other_text_leaves_the_lines_of_a_file_whole(start):
    log = io.StringIO()
    bar, do_clip = start(log)
    do_clip()
    Bar.write("epoch 1", file=log)
    bar.close()

    assert [line.partition(":")[0] for line in log.getvalue().splitlines()] == [
        *("epoch 1", "packing")
    ]


def test_bar_moves_on_a_terminal(start):
    terminal = Terminal()
    bar, do_clip = start(terminal)
    do_clip()
    bar.close()

    assert terminal.getvalue().count("\r") > 1


def test_hidden_bar_writes_nothing():
    log = io.StringIO()
    for _ in Bar(range(3), disable=True, file=log):
        pass
    assert log.getvalue() == ""
