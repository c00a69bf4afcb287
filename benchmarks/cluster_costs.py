"""Measures what each step of tools/beam_graph.py costs a clip, and derives what corpora cost.

    python benchmarks/cluster_costs.py --out results/cluster_costs

Every figure for a large corpus is a formula of constants that are measured here, on one core of
this machine; no large corpus is run.
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

from ser_nsl.cli import run

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
    upstream: Path = Path("models/wav2vec2-mini-ravdess"),
    block: int = 16_384,
    clips: int = 16,
    repeats: int = 3,
) -> str:
    """Measures costs a clip and a pair, and derives those of corpora.

    Args:
        out: Folder for `cluster_costs.md` and `cluster_costs.json`.
        page: A page that quotes the tables between two comments; None leaves it as it is.
        upstream: Checkpoint of the small upstream.
        block: Clips a block in the comparison.
        clips: How many clips are decoded and embedded.
        repeats: How often each is measured; the median counts.
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


def measure_pairs(block: int, repeats: int) -> dict[str, float]:
    """Compares two blocks of random vectors, few of them near, by each engine."""
    from ser_nsl.beam.edges import make_vectors
    from ser_nsl.graph import exact

    random = np.random.default_rng(0)
    values = random.normal(size=(2 * block, WIDTH)).astype(np.float32)
    vectors = make_vectors([_ID.format(i) for i in range(2 * block)], values.tobytes())
    pays, rates = exact.bfloat16_pays(), {}
    for engine in (True, False):
        exact.bfloat16_pays = lambda engine=engine: engine
        seconds = median_seconds(
            lambda: exact.find_edges_between(vectors, block, 0.9, max_neighbors=NEIGHBORS), repeats
        )
        rates["bfloat16" if engine else "float32"] = block**2 / seconds
    return rates | {"chosen": rates["bfloat16" if pays else "float32"]}


def measure_clips(upstream: str, clips: int, repeats: int) -> dict[str, float]:
    """Decodes clips, computes their log Mel, and embeds them with two sizes of upstreams."""
    import soundfile

    from ser_nsl.audio.clip import fit_length, read_audio
    from ser_nsl.audio.front_end import log_mel
    from ser_nsl.audio.settings import FrontEndConfig
    from ser_nsl.upstream.checkpoint import load_upstream
    from ser_nsl.upstream.embed import Embedder
    from ser_nsl.upstream.make import make_upstream

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
            loaded = load_upstream(checkpoint, needs_head=False)
            embedder = Embedder(*loaded, samples, layer=1)
            tasks[f"embedding, {name}"] = lambda embedder=embedder: embedder(waveforms).numpy()
        return {name: median_seconds(task, repeats) / clips for name, task in tasks.items()}


def measure_bytes() -> dict[str, float]:
    """Weighs records in files, and elements as Beam's own coders write them for a shuffle."""
    from ser_nsl.audio.records import embedding_example, feature_example
    from ser_nsl.audio.settings import FrontEndConfig
    from ser_nsl.beam import apache_beam
    from ser_nsl.beam.blocks import Chunk
    from ser_nsl.beam.edges import Neighbor

    frame = 16  # of a TFRecord: length and two check sums
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
            tuple[str, tuple[Neighbor, bytes]], (name, (neighbor, features))
        ),
    }


def costs(clips: int, measured: Mapping[str, Any]) -> dict[str, Any]:
    """The formulas."""
    from ser_nsl.beam.blocks import default_blocks

    size, seconds = measured["bytes"], measured["seconds_a_clip"]
    rate = measured["pairs_per_second"]["chosen"]
    blocks, pairs = default_blocks(clips), clips * (clips - 1) / 2
    edges = clips * NEIGHBORS
    # Of M cells each clip is in C: clips * M distances to centres, and (clips * C)**2 / (2 * M)
    # pairs within cells; the sum is least at M = C * sqrt(clips / 2).
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
            "vectors to blocks": clips * size["vector to its block"],
            "blocks to pairs": clips * blocks * size["vector to a pair of blocks"],
            "nearest of each pair, at most": edges * blocks * size["edge"],
            "features to neighbours": (2 * clips + edges) * size["features to a neighbour"],
            "features and records to shards (0 with --shards 0)": clips
            * (2 + NEIGHBORS)
            * size["features record"],
        },
        "stored": {
            "embeddings": clips * size["embedding record"],
            "features": clips * size["features record"],
            "graph": edges * size["edge line"],
            "training records": clips * (1 + NEIGHBORS) * size["features record"],
        },
    }


def describe(measured: Mapping[str, Any]) -> str:
    """The tables."""
    rates, seconds = measured["pairs_per_second"], measured["seconds_a_clip"]
    constants = [
        ["pairs compared a second, bfloat16 screen", f"{rates['bfloat16']:.3g}"],
        ["pairs compared a second, float32 screen", f"{rates['float32']:.3g}"],
        *([f"{name}, seconds a clip", f"{value:.3g}"] for name, value in seconds.items()),
        *([f"{name}, bytes", f"{value:,.0f}"] for name, value in measured["bytes"].items()),
    ]
    corpora = measured["corpora"]
    rows = [
        ["blocks", *(f"{each['blocks']:,}" for each in corpora)],
        ["pairs of blocks", *(f"{each['pairs of blocks']:,}" for each in corpora)],
        ["pairs of clips", *(f"{each['pairs of clips']:.2g}" for each in corpora)],
        ["operations", *(f"{each['operations']:.2g}" for each in corpora)],
    ]
    for group, told in (("core hours", three_digits), ("shuffled", weight), ("stored", weight)):
        rows += [
            [f"{group}: {name}", *(told(each[group][name]) for each in corpora)]
            for name in corpora[0][group]
        ]
    crossings = [
        2 * rates["chosen"] * seconds[f"embedding, {name}"]
        for name in ("small", "like wav2vec2-base")
    ]
    return "\n".join(
        [
            f"Measured on {measured['machine']}; clips of {CLIP_SECONDS:g} s, embeddings of "
            f"{WIDTH} numbers, {NEIGHBORS} neighbours a clip.",
            "",
            tabulate(constants, ["constant", "value"], "github", disable_numparse=True),
            "",
            tabulate(
                rows,
                ["", *(f"10^{round(np.log10(each['clips']))} clips" for each in corpora)],
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


def weight(value: float) -> str:
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
    run(main)
