"""Measures what each step of beam_graph costs per clip, and derives what large corpora cost.

    python -m benchmarks.cluster_costs --out results/cluster_costs

Every figure for a large corpus is computed by a formula from constants that are measured here, on
one core of this machine; no large corpus is run.
"""

import json
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from ser_nsl.beam.run import import_beam
from ser_nsl.cli import run_function

WIDTH = 256  # numbers of an embedding, as FC1 has
CLIP_SECONDS = 3.0
NEIGHBORS = 3
CORPORA = (10**6, 10**8, 10**9)
CELLS_PER_CLIP = 6  # as `--builder approximate` has it
_ID = "corpus/speaker-000/{:010d}"
_PAGE_PART = re.compile(r"(<!-- made by .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def main(
    *,
    out: Path,
    page: Path | None = Path("docs/cluster.md"),
    upstream: Path = Path("models/wav2vec2-mini"),
    block: int = 16_384,
    clips: int = 16,
    repeats: int = 3,
) -> str:
    """Measures costs per clip and per pair, and derives those of corpora.

    Args:
        out: Folder for `cluster_costs.md` and `cluster_costs.json`.
        page: A page that quotes the tables between two comments; None leaves it as it is.
        upstream: Checkpoint of the small upstream.
        block: Number of clips in each block that is compared.
        clips: Number of clips that are decoded and embedded.
        repeats: Number of measurements, of which the median is taken.
    """
    measured: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, one of {os.cpu_count()} cores"
    }
    # TensorFlow's threads know how many cores they have from their process's start.
    for name, measure, arguments in (
        ("pairs_per_second", measure_pairs, (block, repeats)),
        ("seconds_a_clip", measure_clips, (str(upstream), clips, repeats)),
        ("bytes", measure_bytes, ()),
    ):
        with ProcessPoolExecutor(1, get_context("spawn"), keep_to_one_core) as pool:
            measured[name] = pool.submit(measure, *arguments).result()
    measured["corpora"] = [costs(clips, measured) for clips in CORPORA]
    out.mkdir(parents=True, exist_ok=True)
    (out / "cluster_costs.json").write_text(json.dumps(measured, indent=1) + "\n")
    tables = describe(measured)
    (out / "cluster_costs.md").write_text(f"# Costs on a cluster\n\n{tables}")
    if page is not None:
        quote(tables, page)
    return tables


def keep_to_one_core() -> None:
    """Ties this process to one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def median_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Processor time of a function, after one call to warm up."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def measure_pairs(block: int, repeats: int) -> float:
    """Measures pairs compared per second, on two blocks of random vectors with few near ones."""
    import_beam()
    from ser_nsl.beam.edges import make_vectors
    from ser_nsl.graph.exact import find_edges_between

    random = np.random.default_rng(0)
    values = random.normal(size=(2 * block, WIDTH)).astype(np.float32)
    vectors = make_vectors([_ID.format(i) for i in range(2 * block)], values.tobytes())
    seconds = median_seconds(
        lambda: find_edges_between(vectors, block, 0.9, max_neighbors=NEIGHBORS), repeats
    )
    return block**2 / seconds


def measure_clips(upstream: str, clips: int, repeats: int) -> dict[str, float]:
    """Measures decoding, log Mel, and embedding with two upstreams, in seconds per clip."""
    import soundfile

    from benchmarks.random_upstream import make_upstream
    from ser_nsl.audio.clip import fit_length, read_audio
    from ser_nsl.audio.front_end import log_mel
    from ser_nsl.audio.settings import FrontEndConfig
    from ser_nsl.upstream.checkpoint import load_upstream
    from ser_nsl.upstream.embedder import Embedder

    samples = round(CLIP_SECONDS * 16_000)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.wav" for i in range(clips)]
        random = np.random.default_rng(0)
        for path in paths:
            noise = 0.1 * random.normal(size=round(CLIP_SECONDS * 48_000))
            soundfile.write(path, noise, 48_000)
        waveforms = np.stack([fit_length(read_audio(path), samples) for path in paths])
        base = Path(folder) / "base"
        make_upstream(out=base, hidden_size=768, layers=12, channels=512)
        tasks = {
            "decoding": lambda: [read_audio(path) for path in paths],
            "log Mel": lambda: log_mel(waveforms, FrontEndConfig()).numpy(),
        }
        for name, checkpoint in (("small", upstream), ("like wav2vec2-base", str(base))):
            loaded = load_upstream(checkpoint)
            embedder = Embedder(loaded, samples, layers=(1,), pooling="mean")
            tasks[f"embedding, {name}"] = lambda embedder=embedder: embedder(waveforms).numpy()
        return {name: median_seconds(task, repeats) / clips for name, task in tasks.items()}


def measure_bytes() -> dict[str, float]:
    """Measures records in files, and elements as Beam's own coders encode them for a shuffle."""
    import_beam()
    import apache_beam

    from ser_nsl.audio.examples import embedding_example, feature_example
    from ser_nsl.audio.settings import FrontEndConfig
    from ser_nsl.beam.blocks import Chunk
    from ser_nsl.beam.edges import Neighbor

    frame = 16  # bytes that a TFRecord adds: length and two checksums
    front_end = FrontEndConfig()
    shape = front_end.frames(round(CLIP_SECONDS * 16_000)), front_end.mel_bins
    name, vector = _ID.format(1), np.ones(WIDTH, np.float32)
    made_by = "0123456789abcdef:fc1"
    features = feature_example(name, np.ones(shape, np.float32), 1).SerializeToString()
    chunk = (1, [name] * 4_096, vector.tobytes() * 4_096)
    neighbor = (0.5, name)

    def shuffled(hint: Any, element: Any) -> int:
        return len(apache_beam.coders.registry.get_coder(hint).encode(element))

    return {
        "embedding record": len(embedding_example(name, vector, made_by).SerializeToString())
        + frame,
        "features record": len(features) + frame,
        "edge line": len(f"{name}\t{name}\t0.500000\n"),
        "vector to its block": shuffled(
            tuple[int, tuple[str, bytes]], (1, (name, vector.tobytes()))
        ),
        "vector to a pair of blocks": shuffled(tuple[tuple[int, int], Chunk], ((1, 2), chunk))
        / 4_096,
        "edge": shuffled(tuple[str, Neighbor], (name, neighbor)),
        "features to a neighbour": shuffled(
            tuple[str, tuple[Neighbor | None, bytes]], (name, (neighbor, features))
        ),
    }


def costs(clips: int, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Computes what a corpus of this many clips costs."""
    import_beam()
    from ser_nsl.beam.blocks import default_blocks

    bytes_of, seconds = measured["bytes"], measured["seconds_a_clip"]
    rate = measured["pairs_per_second"]
    blocks, pairs = default_blocks(clips), clips * (clips - 1) / 2
    edges = clips * NEIGHBORS
    # With each clip in C of M cells: clips * M distances to centres, and (clips * C)**2 / (2 * M)
    # pairs within cells; their sum is smallest at M = C * sqrt(clips / 2).
    approximate = 2**0.5 * CELLS_PER_CLIP * clips**1.5
    return {
        "clips": clips,
        "blocks": blocks,
        "pairs of blocks": blocks * (blocks + 1) // 2,
        "pairs of clips": pairs,
        "operations": 2 * WIDTH * pairs,
        "core hours": {
            "decoding and log Mel": clips * (seconds["decoding"] + seconds["log Mel"]) / 3600,
            "embedding, small": clips * seconds["embedding, small"] / 3600,
            "embedding, like wav2vec2-base": clips
            * seconds["embedding, like wav2vec2-base"]
            / 3600,
            "comparing, exactly": pairs / rate / 3600,
            "comparing, in cells (not built)": approximate / rate / 3600,
        },
        "shuffled": {
            "vectors to blocks": clips * bytes_of["vector to its block"],
            "blocks to pairs": clips * blocks * bytes_of["vector to a pair of blocks"],
            "nearest of each pair, at most": edges * blocks * bytes_of["edge"],
            "features to neighbours": (2 * clips + edges) * bytes_of["features to a neighbour"],
            "features and records to shards (0 with --shards 0)": clips
            * (2 + NEIGHBORS)
            * bytes_of["features record"],
        },
        "stored": {
            "embeddings": clips * bytes_of["embedding record"],
            "features": clips * bytes_of["features record"],
            "graph": edges * bytes_of["edge line"],
            "training records": clips * (1 + NEIGHBORS) * bytes_of["features record"],
        },
    }


def describe(measured: Mapping[str, Any]) -> str:
    """The tables."""
    rate, seconds = measured["pairs_per_second"], measured["seconds_a_clip"]
    constants = [
        ["pairs compared per second", f"{rate:.3g}"],
        *([f"{name}, seconds per clip", f"{value:.3g}"] for name, value in seconds.items()),
        *([f"{name}, bytes", f"{value:,.0f}"] for name, value in measured["bytes"].items()),
    ]
    corpora = measured["corpora"]
    rows = [
        ["blocks", *(f"{corpus['blocks']:,}" for corpus in corpora)],
        ["pairs of blocks", *(f"{corpus['pairs of blocks']:,}" for corpus in corpora)],
        ["pairs of clips", *(f"{corpus['pairs of clips']:.2g}" for corpus in corpora)],
        ["operations", *(f"{corpus['operations']:.2g}" for corpus in corpora)],
    ]
    for group, shown in (("core hours", three_digits), ("shuffled", size), ("stored", size)):
        rows += [
            [f"{group}: {name}", *(shown(corpus[group][name]) for corpus in corpora)]
            for name in corpora[0][group]
        ]
    crossings = [
        2 * rate * seconds[f"embedding, {name}"] for name in ("small", "like wav2vec2-base")
    ]
    return "\n".join(
        [
            f"Measured on {measured['machine']}; clips of {CLIP_SECONDS:g} s, embeddings of "
            f"{WIDTH} numbers, {NEIGHBORS} neighbours per clip.",
            "",
            tabulate(constants, ["constant", "value"], "github", disable_numparse=True),
            "",
            tabulate(
                rows,
                ["", *(f"10^{round(np.log10(corpus['clips']))} clips" for corpus in corpora)],
                "github",
                disable_numparse=True,
            ),
            "",
            "Comparing all pairs takes as long as embedding all clips at "
            f"{crossings[0]:.1e} clips with the small upstream, and at {crossings[1]:.1e} with one "
            "like wav2vec2-base.",
            "",
        ]
    )


def three_digits(value: float) -> str:
    """A number rounded to three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):,.12g}"


def size(value: float) -> str:
    """Bytes in a unit that leaves few digits."""
    for unit in ("bytes", "KB", "MB", "GB", "TB", "PB"):
        if value < 1_000 or unit == "PB":
            return f"{value:,.3g} {unit}"
        value /= 1_000


def quote(tables: str, page: Path) -> None:
    """Puts the tables between the two comments of a page."""
    text = page.read_text()
    if not _PAGE_PART.search(text):
        raise ValueError(f"{page}: the comments between which the tables stand are missing")
    page.write_text(_PAGE_PART.sub(lambda found: f"{found[1]}\n{tables}\n{found[2]}", text))


if __name__ == "__main__":
    run_function(main)
