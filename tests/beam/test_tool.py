"""The whole chain in worker processes, as a user starts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("apache_beam")
pytest.importorskip("google_crc32c")

from ser_nsl.graph.build import build_graph
from ser_nsl.graph.pack import pack_neighbors

PACKAGE = Path(__file__).parents[2] / "ser_nsl"


@pytest.mark.slow
def test_manifest_becomes_records_in_two_worker_processes(
    tone_manifest, small_upstream, lines_of, records_of, tmp_path
):
    out = tmp_path / "out"
    arguments = ["--manifest", tone_manifest, "--upstream", small_upstream, "--out", out]
    settings = ["--similarity-threshold", "0.9", "--blocks", "2", "--shards", "2"]

    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "ser_nsl.cli",
            "beam-graph",
            *arguments,
            *settings,
            "--",
            "--direct_num_workers=2",
        ],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("beam_graph: ")
    assert "dead letters 0" in run.stdout
    assert run.stdout.endswith(f"-> {out}\n")
    graph = tmp_path / "graph.tsv"
    build_graph(
        embeddings=out / "embeddings",
        out=graph,
        builder="exact",
        similarity_threshold=0.9,
        max_neighbors=3,
    )
    pack_neighbors(features=out / "features", graph=graph, out=tmp_path / "packed", form="official")
    assert lines_of(out / "graph" / "graph") == graph.read_text().splitlines()
    assert records_of(out / "training") == records_of(tmp_path / "packed")
    assert len(records_of(out / "training")) == 12


def test_nothing_else_needs_beam():
    needing = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(import|from) (apache_beam|ser_nsl\.beam)", path.read_text(), re.M)
    }
    assert needing == {"beam"}
