"""What of the code counts."""

import sys
import time

import pytest

from ser_nsl.pipeline import code
from ser_nsl.pipeline.stage import is_current


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda text: text.replace("upper()", "lower()"), True),
        (lambda text: text.replace("Shouts.", "Cries."), False),
        (lambda text: text + "\n# the end\n", False),
    ],
)
def test_code_counts_and_words_about_it_do_not(change, counts, source, tmp_path, monkeypatch):
    module = tmp_path / "shouting.py"
    module.write_text(
        "from pathlib import Path\n"
        "from ser_nsl.pipeline.stage import stage\n\n"
        '@stage(inputs=("source",), makes="file")\n'
        "def cry(*, source: Path, out: Path) -> dict:\n"
        '    """Shouts."""\n'
        "    out.write_text(source.read_text().upper())\n"
        "    return {}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from shouting import cry

    arguments = {"source": source, "out": tmp_path / "loud.txt"}
    cry(**arguments)
    assert is_current(cry, arguments)
    time.sleep(0.01)
    module.write_text(change(module.read_text()))
    del sys.modules["shouting"]
    from shouting import cry

    assert is_current(cry, arguments) != counts
    del sys.modules["shouting"]


def test_code_of_what_a_stage_imports_counts(monkeypatch):
    """Also of what it imports while it runs, and from packages that lend names of their modules."""
    read: list[str] = []
    real = code._source
    monkeypatch.setattr(code, "_source", lambda name: read.append(name) or real(name))
    code.code_hash("ser_nsl.training.train")

    assert {"ser_nsl.training.fit", "ser_nsl.networks.resnet9", "ser_nsl.audio.records"} <= {*read}
    assert not any(name.startswith(("ser_nsl.reports", "ser_nsl.export")) for name in read)
    read.clear()
    code.code_hash("ser_nsl.export.tflite")
    assert "ser_nsl.edge.recognizer" in read
