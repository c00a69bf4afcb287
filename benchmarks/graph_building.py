"""Measures how fast graphs are built, how much memory that takes, and how both grow.

    python -m benchmarks.graph_building --out results/graph_building --rows official medium

Every measurement is a process of its own. Rows that were measured before stay in the tables.
"""

import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tabulate import tabulate

from benchmarks.measuring import in_new_process, machine
from ser_nsl.cli import run_function

_GROUP = 4  # clips of a kind


_DOCUMENTED = (
    "For 50,000 x 100 at 0.9 the documentation of NSL's builder reports, for another machine, of "
    "27 min 46 s where all pairs are compared, and of 43.6 s with hashing that finds 99.7 % of the "
    "edges."
)


@dataclass(frozen=True)
class Task:
    """A corpus of made vectors and how its graph is asked for."""

    clips: int
    width: int
    threshold: float
    builders: tuple[str, ...]
    max_neighbors: int | None = None


TASKS = {
    "official": [Task(8_000, 256, 0.98, ("exact", "official"))],
    "medium": [Task(50_000, 100, 0.9, ("exact", "approximate"))],
    "large": [Task(800_000, 200, 0.99, ("exact",), max_neighbors=10)],
    "approximate": [Task(800_000, 200, 0.99, ("approximate",), max_neighbors=10)],
    "growth": [
        Task(clips, 256, 0.98, ("exact", "approximate"))
        for clips in (10_000, 18_000, 32_000, 56_000, 100_000)
    ],
}


def main(
    *,
    out: Path,
    rows: tuple[Literal["official", "medium", "large", "approximate", "growth"], ...] = (
        "official",
        "medium",
    ),
    shrink: int = 1,
) -> str:
    """Measures the builders of graphs.

    Args:
        out: Folder for `graph_building.md`, `graph_building.json` and `growth.png`.
        rows: What to measure. `official`: 8,000 vectors of 256 numbers at 0.98, against the
            official builder. `medium`: 50,000 of 100 at 0.9. `large`: 800,000 of 200 at 0.99, at
            most 10 neighbours. `approximate`: the same, approximately. `growth`: 10,000 to
            100,000 of 256 at 0.98.
        shrink: Divides the numbers of vectors, for a trial.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / "graph_building.json"
    measured = json.loads(file.read_text()) if file.exists() else {}
    measured["machine"] = machine()
    for row in rows:
        measured[row] = [each for task in TASKS[row] for each in measure(task, shrink)]
        file.write_text(json.dumps(measured, indent=1) + "\n")
    slopes = draw_growth(measured["growth"], out / "growth.png") if "growth" in measured else {}
    text = describe(measured, slopes)
    (out / "graph_building.md").write_text(text)
    return text


def measure(task: Task, shrink: int) -> Iterator[dict[str, Any]]:
    """Builds the graph of a task with each of its builders."""
    clips = task.clips // shrink
    with tempfile.TemporaryDirectory() as folder:
        embeddings = Path(folder) / "embeddings"
        write_vectors(embeddings, clips, task.width, task.threshold)
        for builder in task.builders:
            settings = {
                "builder": builder,
                "similarity_threshold": task.threshold,
                "max_neighbors": task.max_neighbors,
                "lsh_splits": 0,
            }
            graph = Path(folder) / "graph.tsv"
            result = in_new_process(build, embeddings, graph, settings)
            yield {"clips": clips, "width": task.width, **settings, **result}


def write_vectors(folder: Path, clips: int, width: int, threshold: float) -> None:
    """Writes vectors in groups; about half of the pairs within a group reach the threshold."""
    from ser_nsl.audio.examples import embedding_example
    from ser_nsl.audio.shards import ShardWriter

    folder.mkdir()
    random = np.random.default_rng(0)
    centres = random.normal(size=(clips // _GROUP + 1, width)).astype(np.float32)
    spread = np.sqrt(1 / threshold - 1)
    with ShardWriter(folder, "train", 4) as writer:
        for i in range(clips):
            vector = centres[random.integers(len(centres))] + spread * random.normal(size=width)
            writer.write(embedding_example(f"{i:07d}", vector.astype(np.float32)))


def build(embeddings: Path, graph: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Builds a graph: wall time without imports, and the most memory that the process took."""
    from ser_nsl.graph.build import build_graph

    repeats = 3 if settings["builder"] != "official" and settings["max_neighbors"] is None else 1
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = build_graph(embeddings=embeddings, out=graph, **settings)
        seconds.append(time.perf_counter() - start)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": round(statistics.median(seconds), 3),
        "first_seconds": round(seconds[0], 3),
        "peak_gigabytes": round(kilobytes / 1e6, 2),
        "edges": result.counts["edges"],
        "recall": result.counts.get("recall", 1.0),
    }


def draw_growth(rows: list[dict[str, Any]], path: Path) -> dict[str, float]:
    """Draws time against number of clips; returns each builder's slope in doubly log scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    slopes = {}
    for builder in dict.fromkeys(row["builder"] for row in rows):
        own = [row for row in rows if row["builder"] == builder]
        clips, seconds = [row["clips"] for row in own], [row["seconds"] for row in own]
        slopes[builder] = round(float(np.polyfit(np.log(clips), np.log(seconds), 1)[0]), 2)
        axes.loglog(clips, seconds, "o-", label=f"{builder}, slope {slopes[builder]:.2f}")
    axes.set(xlabel="clips", ylabel="seconds")
    axes.legend()
    figure.savefig(path, dpi=150)
    return slopes


def describe(measured: dict[str, Any], slopes: dict[str, float]) -> str:
    """The tables, with what they say."""
    lines = [
        "# Building graphs",
        "",
        f"Made by `benchmarks/graph_building.py` on {measured['machine']}. Seconds hold reading, "
        "searching, sorting and writing, and no imports: the median of three calls in one process, "
        "of which the first also starts TensorFlow, or one call of the official builder and where "
        "neighbours are limited. Memory is that of the whole process, "
        "TensorFlow with it.",
    ]
    for row in (name for name in TASKS if name in measured):
        table = tabulate(measured[row], headers="keys", tablefmt="github", missingval="all")
        lines += ["", f"## {row.capitalize()}", "", table]
    if "medium" in measured:
        lines += ["", _DOCUMENTED]
    if "official" in measured:
        exact, official = measured["official"]
        ratio = official["seconds"] / exact["seconds"]
        lines += ["", f"The exact builder is **{ratio:.0f} times** as fast as the official one."]
    if slopes:
        growth = ", ".join(f"{builder} {slope:.2f}" for builder, slope in slopes.items())
        lines += ["", "![Time against clips](growth.png)", "", f"Slopes of the growth: {growth}."]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    run_function(main)
