"""Measures how fast training records are packed and read, how large they are, and the memory.

    python -m benchmarks.packing --out results/packing

Every measurement is a process of its own.
"""

import json
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.measuring import in_new_process, machine
from ser_nsl.cli import run_function

_CLIPS = 3_729  # DEMoS's training part
_GROWTH = 4
_NEIGHBORS = 9
_CLIP_SECONDS = 4
_EDGES = 5  # to the clips after each, so that ten touch a clip
_BATCH = 16


def main(*, out: Path, shrink: int = 1) -> str:
    """Packs 3,729 clips of 4 s with 9 neighbours in both forms, and four times as many indexed.

    Args:
        out: Folder for `packing.md` and `packing.json`.
        shrink: Divides the numbers of clips, for a trial.
    """
    out.mkdir(parents=True, exist_ok=True)
    clips = _CLIPS // shrink
    measured = {
        "machine": machine(),
        "rows": [*measure(clips, ("official", "indexed")), *measure(_GROWTH * clips, ("indexed",))],
        "alone": measure_alone(clips),
    }
    (out / "packing.json").write_text(json.dumps(measured, indent=1) + "\n")
    text = describe(measured)
    (out / "packing.md").write_text(text)
    return text


def measure(clips: int, forms: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Packs a corpus in some forms, and reads what comes of it twice, shuffled."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_new_process(write_corpus, folder, clips)
        for form in forms:
            row = {"clips": clips, "neighbors": _NEIGHBORS, "form": form}
            row |= in_new_process(pack, folder, form)
            yield row | in_new_process(read, folder, form)
            shutil.rmtree(folder / form)


def measure_alone(clips: int) -> float:
    """Seconds of `nsl.tools.pack_nbrs` alone, without what our official form does around it."""
    with tempfile.TemporaryDirectory() as name:
        in_new_process(write_corpus, Path(name), clips)
        return in_new_process(pack_alone, Path(name))


def write_corpus(folder: Path, clips: int) -> None:
    """Writes features of noise, and a graph in which every clip has neighbours enough."""
    from ser_nsl.audio.examples import feature_example
    from ser_nsl.audio.features import Description
    from ser_nsl.audio.settings import FrontEndConfig
    from ser_nsl.audio.shards import ShardWriter

    front_end = FrontEndConfig()
    bands = front_end.mel_bins
    description = Description(
        front_end,
        _CLIP_SECONDS * front_end.sample_rate_hz,
        ("anger", "joy"),
        (-40.0,) * bands,
        (10.0,) * bands,
    )
    features = folder / "features"
    features.mkdir()
    description.save(features)
    random = np.random.default_rng(0)
    with ShardWriter(features, "train", 4) as writer:
        for i in range(clips):
            logmel = random.normal(-40, 10, description.logmel_shape).astype(np.float32)
            writer.write(feature_example(f"{i:07d}", logmel, i % 2))
    with (folder / "graph.tsv").open("w") as graph:
        for i in range(clips):
            for j in range(1, 1 + _EDGES):
                ends, weight = (f"{i:07d}", f"{(i + j) % clips:07d}"), random.random()
                graph.write(f"{ends[0]}\t{ends[1]}\t{weight:f}\n{ends[1]}\t{ends[0]}\t{weight:f}\n")


def pack(folder: Path, form: str) -> dict[str, Any]:
    """Packs: wall time without imports, and the most memory that the process took."""
    from ser_nsl.graph.pack import pack_neighbors

    before = _peak_gigabytes()
    start = time.perf_counter()
    pack_neighbors(
        features=folder / "features",
        graph=folder / "graph.tsv",
        out=folder / form,
        max_neighbors=_NEIGHBORS,
        form=form,
    )
    return {
        "pack_seconds": round(time.perf_counter() - start, 2),
        "gigabytes_on_disk": round(_bytes(folder / form) / 1e9, 3),
        "imports_peak_gigabytes": before,
        "pack_peak_gigabytes": _peak_gigabytes(),
    }


def pack_alone(folder: Path) -> float:
    """Runs NSL's packer on one file of all clips: wall time without imports."""
    import neural_structured_learning as nsl

    from ser_nsl.graph.pack import _readable_graphs

    shards = sorted((folder / "features").glob("train-*.tfrecord"))
    (folder / "train").write_bytes(b"".join(shard.read_bytes() for shard in shards))
    paths = [str(folder / name) for name in ("train", "graph.tsv", "packed")]
    start = time.perf_counter()
    with _readable_graphs():
        nsl.tools.pack_nbrs(
            paths[0], "", *paths[1:], add_undirected_edges=True, max_nbrs=_NEIGHBORS
        )
    return round(time.perf_counter() - start, 2)


def read(folder: Path, form: str) -> dict[str, Any]:
    """Opens the records and reads them twice in batches, as training does."""
    from ser_nsl.audio.features import Description
    from ser_nsl.training.data import training_clips
    from ser_nsl.training.orders import shuffled

    seconds = [time.perf_counter()]
    description = Description.load(folder / form)
    clips = training_clips(folder / form, ("train",), description, neighbors=_NEIGHBORS)
    seconds.append(time.perf_counter())
    batches = clips.batches(shuffled(clips.labelled), _BATCH, seed=0, steps=0)
    for _ in range(2):
        for _ in batches:
            pass
        seconds.append(time.perf_counter())
    names = ("open_seconds", "first_epoch_seconds", "next_epoch_seconds")
    spans = dict(zip(names, np.diff(seconds).round(2).tolist(), strict=True))
    return spans | {"read_own_gigabytes": _own_gigabytes()}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _peak_gigabytes() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)


def _own_gigabytes() -> float:
    """Memory now, without pages of files, which the system takes back when it needs them."""
    status = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
    return round(kilobytes / 1e6, 2)


def describe(measured: dict[str, Any]) -> str:
    """The table, with what it says."""
    official, indexed, larger = measured["rows"]
    faster = official["pack_seconds"] / indexed["pack_seconds"]
    smaller = official["gigabytes_on_disk"] / indexed["gigabytes_on_disk"]
    grown = larger["pack_peak_gigabytes"] - indexed["pack_peak_gigabytes"]
    features = larger["gigabytes_on_disk"] - indexed["gigabytes_on_disk"]
    lines = [
        "# Packing training records",
        "",
        f"Made by `benchmarks/packing.py` on {measured['machine']}: clips of {_CLIP_SECONDS} s as "
        "log Mel, noise. Seconds hold no imports. Memory to pack is the peak of the whole process, "
        "TensorFlow with it, beside its peak after the imports; memory to read is what the process "
        "holds after two shuffled epochs, pages of files left out.",
        "",
        tabulate(
            [[name, *(row[name] for row in measured["rows"])] for name in official],
            tablefmt="github",
            headers=["", "", "", ""],
        ),
        "",
        f"The indexed form is written **{faster:.1f} times** as fast as the official one, "
        f"**{measured['alone'] / indexed['pack_seconds']:.1f} times** as fast as NSL's packer "
        f"alone ({measured['alone']} s, from one file to one file, without our checks), and is "
        f"**{smaller:.2f} times** smaller, with at least (1 + n) / 1.2 = "
        f"{(1 + _NEIGHBORS) / 1.2:.2f} asked for. With {larger['clips'] / indexed['clips']:.0f} "
        f"times the clips, {features:.2f} GB more of features, packing took {grown:.2f} GB more.",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    run_function(main)
