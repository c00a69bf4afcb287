"""What the trainings of a fold share: manifest, features, embeddings, graphs, packed records."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ser_nsl.audio.features import extract_features
from ser_nsl.corpora import prepare_corpus
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.embeddings.center import center_embeddings
from ser_nsl.embeddings.fuse import fuse_embeddings
from ser_nsl.embeddings.mfcc import extract_mfccs
from ser_nsl.embeddings.probe import probe_embeddings
from ser_nsl.graph.build import build_graph
from ser_nsl.graph.controls import control_graph
from ser_nsl.graph.pack import pack_neighbors
from ser_nsl.graph.select import select_edges
from ser_nsl.pipeline.arms import Arm, find_arm
from ser_nsl.pipeline.steps import Step
from ser_nsl.pipeline.sweep import Run, SweepConfig
from ser_nsl.training.pseudo_labels import pseudo_label
from ser_nsl.upstream.embed import extract_embeddings

_SPLITS = ("train", "val", "test")
_SPARE = 10  # neighbours packed for each that is used, to choose among where labels disagree


def split_of(config: SweepConfig, fold: int, folder: Path) -> SplitConfig:
    """Says how `prepare_corpus` shall divide speakers.

    Args:
        config: The sweep.
        fold: From 0.
        folder: Of the fold, made if lists of speakers have to be written.
    """
    groups = config.folds[fold]
    if groups.split is not None:
        return groups.split
    chosen = {*groups.test, *groups.val}
    speakers = dict.fromkeys(s for each in config.folds for s in (*each.test, *each.val))
    train = [speaker for speaker in speakers if speaker not in chosen]
    lists = {"train": train, "val": [*groups.val], "test": [*groups.test]}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "speakers.json"
    path.write_text(json.dumps(lists, indent=1) + "\n")
    return SplitConfig(method="lists", lists=path)


def fold_steps(
    config: SweepConfig, split: SplitConfig, folder: Path, runs: Iterable[Run]
) -> list[Step]:
    """Lists the stages before the trainings of a fold.

    Args:
        config: The sweep.
        split: Who trains, validates and tests.
        folder: Of the fold.
        runs: The trainings.

    Returns:
        Steps in the order in which they can run, each once.
    """
    manifest, target = folder / "manifest.csv", config.target
    steps = [
        Step(
            prepare_corpus,
            {
                "corpus": target.corpus,
                "audio_dir": target.audio_dir,
                "out": manifest,
                "table": target.table,
                "leave_out": target.leave_out,
                "split": split,
                "skip_bad": target.skip_bad,
            },
        ),
        Step(
            extract_features,
            {
                "manifest": manifest,
                "out": folder / "features",
                "front_end": config.front_end,
                "clip_seconds": config.clip_seconds,
            },
        ),
    ]
    for run in runs:
        arm = find_arm(run.method)
        steps += _embedding_steps(config, folder, arm)
        if arm.guessed:
            steps += _guessing_steps(folder, run)
        if arm.likeness is not None:
            steps += _graph_steps(config, folder, run)
    return [*{step.out: step for step in steps}.values()]


def _embedding_steps(config: SweepConfig, folder: Path, arm: Arm) -> Iterator[Step]:
    """What says who is alike, or joins the network; centring asks for speakers, so only if used."""
    both = arm.probes or arm.likeness == "fused"
    manifest = {"manifest": folder / "manifest.csv"}
    if both or arm.joins or arm.likeness in ("upstream", "paper"):
        yield Step(
            extract_embeddings,
            {
                **manifest,
                "upstream": config.upstream,
                "out": folder / "uncentered" / "upstream",
                "splits": _SPLITS,
                "clip_seconds": config.clip_seconds,
            },
        )
    if both or arm.likeness == "upstream":
        yield _centering_step(folder, "upstream")
    if both or arm.likeness == "mfcc":
        out = folder / "uncentered" / "mfcc"
        yield Step(extract_mfccs, {**manifest, "out": out, "splits": ("train", "val")})
        yield _centering_step(folder, "mfcc")
    if both:
        embeddings = tuple(folder / "embeddings" / name for name in ("upstream", "mfcc"))
        out = folder / "embeddings" / "fused"
        yield Step(fuse_embeddings, {"embeddings": embeddings, "out": out})


def _centering_step(folder: Path, name: str) -> Step:
    return Step(
        center_embeddings,
        {
            "embeddings": folder / "uncentered" / name,
            "manifest": folder / "manifest.csv",
            "out": folder / "embeddings" / name,
        },
    )


def records_of(config: SweepConfig, folder: Path, run: Run) -> Path:
    """Names the training records of a run with a graph.

    Args:
        config: The sweep.
        folder: Of the fold.
        run: The training.
    """
    arm = find_arm(run.method)
    control = [arm.control] if arm.control else []
    purity = [f"{arm.purity:.0%}".rstrip("%")] if arm.purity is not None else []
    labels = ["with", _probe(run)] if arm.guessed else []
    name = "_".join([_likeness(run), *control, *purity, *labels, str(run.n)])
    return folder / "-".join(["training", *config.splits(run)[1:]]) / name


def features_of(folder: Path, run: Run) -> Path:
    """Names the features that a run trains on.

    Args:
        folder: Of the fold.
        run: The training.
    """
    guessed = find_arm(run.method).guessed
    return folder / "guessed" / _probe(run) if guessed else folder / "features"


def _likeness(run: Run) -> str:
    """Whose likeness."""
    likeness = find_arm(run.method).likeness or "none"
    return _probe(run) if likeness == "probe" else likeness


def _probe(run: Run) -> str:
    """Which probe: what it reads depends on the labels that it may know."""
    return f"probe_{run.label_share:g}_{run.seed}"


def _probe_steps(folder: Path, run: Run) -> Iterator[Step]:
    embeddings = folder / "embeddings"
    yield Step(
        probe_embeddings,
        {
            "manifest": folder / "manifest.csv",
            "embeddings": embeddings / "fused",
            "out": embeddings / _probe(run),
            "label_share": run.label_share,
            "seed": run.seed,
        },
    )


def _guessing_steps(folder: Path, run: Run) -> Iterator[Step]:
    """Labels where the run has none."""
    yield from _probe_steps(folder, run)
    yield Step(
        pseudo_label,
        {
            "features": folder / "features",
            "embeddings": folder / "embeddings" / _probe(run),
            "out": features_of(folder, run),
            "label_share": run.label_share,
            "seed": run.seed,
        },
    )


def _graph_steps(config: SweepConfig, folder: Path, run: Run) -> Iterator[Step]:
    """The graph, chosen among or changed, and packed."""
    arm, splits = find_arm(run.method), config.splits(run)
    graphs = folder / "-".join(["graphs", *splits[1:]])
    records = records_of(config, folder, run)
    kept = run.n if arm.control and arm.edges == "all" else run.n * _SPARE
    packed = graphs / f"{_likeness(run)}.tsv"
    if arm.likeness == "paper":
        embedded = {"embeddings": folder / "uncentered" / "upstream", "splits": splits}
        yield Step(build_graph, embedded | config.graph.building | {"out": packed})
    else:
        yield from _edges_across_speakers(folder, run, splits, packed)
    if arm.control is not None:
        across, packed = packed, graphs / f"{records.name}.tsv"
        yield from _control_steps(across, packed, arm, run, kept)
    yield Step(
        pack_neighbors,
        {
            "features": features_of(folder, run),
            "graph": packed,
            "out": records,
            "max_neighbors": kept,
            "splits": splits,
            "form": "indexed",
        },
    )


def _edges_across_speakers(
    folder: Path, run: Run, splits: Sequence[str], out: Path
) -> Iterator[Step]:
    """Within a speaker, clips are alike whatever they express."""
    arm, likeness, embeddings = find_arm(run.method), _likeness(run), folder / "embeddings"
    manifest = {"manifest": folder / "manifest.csv"}
    if arm.likeness == "probe":
        yield from _probe_steps(folder, run)
    every = out.with_name(f"{out.stem}_all.tsv")
    yield Step(
        build_graph,
        {
            "embeddings": embeddings / likeness,
            "out": every,
            "similarity_threshold": 0.0,
            "builder": "exact",
            "splits": splits,
        },
    )
    yield Step(select_edges, manifest | {"graph": every, "out": out, "across_speakers": True})


def _control_steps(across: Path, out: Path, arm: Arm, run: Run, nearest: int) -> Iterator[Step]:
    """What a control does to the nearest edges, or chooses in their place."""
    manifest = {"manifest": across.parents[1] / "manifest.csv"}
    settings = manifest | {"kind": arm.control, "seed": run.fold}
    if arm.control == "random":
        chosen = across.with_name(f"{across.stem}_{nearest}.tsv")
        yield Step(select_edges, manifest | {"graph": across, "out": chosen, "nearest": nearest})
        yield Step(control_graph, settings | {"graph": chosen, "out": out})
        return
    right = across.with_name(f"{across.stem}_right.tsv")
    yield Step(control_graph, settings | {"graph": across, "out": right})
    chosen = out if arm.purity is None else right.with_name(f"{right.stem}_{nearest}.tsv")
    yield Step(select_edges, manifest | {"graph": right, "out": chosen, "nearest": nearest})
    if arm.purity is not None:
        yield Step(control_graph, settings | {"graph": chosen, "out": out, "purity": arm.purity})
