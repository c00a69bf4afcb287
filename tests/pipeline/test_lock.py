"""One writer at a time."""

import subprocess
import sys

import pytest

from ser_nsl.errors import InputError
from tests.pipeline.stages import collect, content


def test_one_writer_at_a_time_and_its_process_is_named(made, tmp_path):
    script = (
        "import time\nfrom pathlib import Path\nfrom ser_nsl.pipeline.lock import locked\n"
        f"with locked(Path({str(made)!r})):\n    print(flush=True)\n    time.sleep(600)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        before = content(made)
        with pytest.raises(InputError, match=rf"is being written by process {other.pid} on "):
            collect(folder=tmp_path / "given", out=made)
        assert content(made) == before
    finally:
        other.kill()
        other.communicate()

    collect(folder=tmp_path / "given", out=made)  # the lock went with its process

    assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "made", "source.txt"]
