"""What docs/nsl_tools.md says to type."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ser_nsl.graph.official import open_official
from tests.graph.conftest import SHAPE

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_each_step_by_nsl_and_by_ours(write_embeddings, write_features, tmp_path):
    random = np.random.default_rng(0)
    centres = random.normal(0, 1, (3, 16))
    vectors = {f"clip{i:02}": centres[i % 3] + random.normal(0, 0.1, 16) for i in range(12)}
    run = tmp_path / "run"
    run.mkdir()
    write_embeddings(vectors).rename(run / "probe")
    write_features({name: (i, i % 2) for i, name in enumerate(vectors)}).rename(run / "features")
    page = (ROOT / "docs" / "nsl_tools.md").read_text()
    script = "".join(re.findall(r"```(?:sh|bash)\n(.*?)```", page, flags=re.DOTALL))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr[-3_000:]
    lines = sorted((run / "graph_of_nsl.tsv").read_text().splitlines())
    assert (run / "graph.tsv").read_text().splitlines() == lines
    assert len(lines) == 12 * 3
    official, ours = (
        open_official(run / name, ("train",), SHAPE, neighbors=None)
        for name in ("packed_by_nsl", "packed")
    )
    names = [
        [clips.ids[row] for row in clips.rows[clips.ids.index("clip05")]]
        for clips in (official, ours)
    ]
    assert names[0] == names[1] and len(set(names[0])) == 4
    assert sorted(official.ids) == sorted(ours.ids) == sorted(vectors)
