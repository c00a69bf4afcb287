"""All stages of an experiment, in order; those that are up to date are skipped."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from ser_nsl.audio.features import extract_features
from ser_nsl.corpora import prepare_corpus
from ser_nsl.corpora.settings import CorpusConfig
from ser_nsl.corpora.synthetic import make_synthetic_corpus
from ser_nsl.embeddings.center import center_embeddings
from ser_nsl.embeddings.fuse import fuse_embeddings
from ser_nsl.embeddings.mfcc import extract_mfccs
from ser_nsl.embeddings.probe import probe_embeddings
from ser_nsl.evaluation.model import evaluate
from ser_nsl.export import export_tflite
from ser_nsl.graph.build import build_graph
from ser_nsl.graph.pack import pack_neighbors
from ser_nsl.graph.select import select_edges
from ser_nsl.pipeline.experiment import Experiment
from ser_nsl.pipeline.results import EXPERIMENT_NAME, model_label, result_table
from ser_nsl.pipeline.settings import save_settings
from ser_nsl.pipeline.steps import Step, pending, run_steps
from ser_nsl.reports.run import make_report
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.training.train import check_networks, train_downstream
from ser_nsl.upstream.embed import extract_embeddings
from ser_nsl.upstream.finetune import finetune_upstream
from ser_nsl.upstream.make import make_upstream
from ser_nsl.upstream.pretrain import pretrain_upstream

_OF_GRAPH = (
    "alpha",
    "layer",
    "distance",
    "neighbors",
    "edges",
    "update_statistics",
)  # settings of training


def plan(experiment: Experiment, run: Path) -> Iterator[Step]:
    """Lists the stages of an experiment.

    Args:
        experiment: The experiment.
        run: Folder for everything that it makes.

    Yields:
        Steps in the order in which they can run.
    """
    source, target = run / "source" / "manifest.csv", run / "target" / "manifest.csv"
    if experiment.source is not None and experiment.reads_source:
        yield from _corpus_steps(experiment.source, source)
    yield from _corpus_steps(experiment.target, target)
    yield from _upstream_steps(experiment, run, source, target)
    features, embeddings = run / "features", run / "embeddings"
    embedded = _as_embedded(experiment, run)
    yield Step(
        extract_features,
        {
            "manifest": target,
            "out": features,
            "clip_seconds": experiment.clip_seconds,
            "front_end": experiment.front_end,
        },
    )
    transfers = {"add", "max", "avg"} & set(experiment.methods)
    yield Step(
        extract_embeddings,
        {
            "manifest": target,
            "upstream": trained_upstream(experiment, run),
            "out": embedded,
            "clip_seconds": experiment.clip_seconds,
            "splits": ("train", "val", "test") if transfers else ("train",),
        },
    )
    if experiment.center:
        yield Step(
            center_embeddings,
            {
                "embeddings": embedded,
                "manifest": target,
                "out": embeddings,
                "by": experiment.center,
            },
        )
    alike = yield from _likeness_steps(experiment, run, target, embeddings)
    graph, packed = run / "graph" / "graph.tsv", run / "training"
    built = graph.with_name("all.tsv") if experiment.graph.across_speakers else graph
    yield Step(build_graph, {"embeddings": alike, "out": built, **experiment.graph.building})
    if experiment.graph.across_speakers:
        yield Step(
            select_edges,
            {"graph": built, "manifest": target, "out": graph, "across_speakers": True},
        )
    yield Step(
        pack_neighbors,
        {
            "features": features,
            "graph": graph,
            "out": packed,
            "max_neighbors": experiment.graph.max_neighbors,
            "form": experiment.graph.packing,
        },
    )
    for network in experiment.networks:
        yield from _training_steps(experiment, network, run)
    model_dir = exported_model(experiment, run)
    if model_dir is not None:
        yield Step(
            export_tflite,
            {"model_dir": model_dir, "manifest": target, "out": run / "recogniser.tflite"},
        )


def _likeness_steps(
    experiment: Experiment, run: Path, target: Path, embeddings: Path
) -> Generator[Step, None, Path]:
    """What says which clips are alike; returns its folder."""
    likeness, folder = experiment.graph.likeness, run / "likeness"
    if likeness == "upstream":
        return embeddings
    mfcc = folder / "mfcc"
    heard = folder / "uncentered" if experiment.center else mfcc
    yield Step(extract_mfccs, {"manifest": target, "out": heard})
    if experiment.center:
        yield Step(
            center_embeddings,
            {"embeddings": heard, "manifest": target, "out": mfcc, "by": experiment.center},
        )
    if likeness == "mfcc":
        return mfcc
    fused, probe = folder / "fused", folder / "probe"
    yield Step(fuse_embeddings, {"embeddings": (embeddings, mfcc), "out": fused})
    if likeness == "fused":
        return fused
    labels = {"label_share": experiment.training.label_share, "seed": experiment.seeds[0]}
    yield Step(probe_embeddings, {"embeddings": fused, "manifest": target, "out": probe, **labels})
    return probe


def _upstream_steps(
    experiment: Experiment, run: Path, source: Path, target: Path
) -> Iterator[Step]:
    upstream = experiment.upstream
    if upstream is None:
        upstream = str(run / "upstream" / "random")
        yield Step(make_upstream, {"out": Path(upstream), **vars(experiment.small_upstream)})
    if experiment.adaptation is not None:
        adapted = run / "upstream" / "adapted"
        yield Step(
            pretrain_upstream,
            {
                "audio": (target, source),
                "upstream": upstream,
                "out": adapted,
                "config": experiment.adaptation,
            },
        )
        upstream = str(adapted)
    if experiment.finetuning is not None:
        yield Step(
            finetune_upstream,
            {
                "manifest": source,
                "upstream": upstream,
                "out": run / "upstream" / "finetuned",
                "config": experiment.finetuning,
            },
        )


def trained_upstream(experiment: Experiment, run: Path) -> str:
    """Names the checkpoint that embeds the target.

    Args:
        experiment: The experiment.
        run: Folder of the run.

    Returns:
        A folder or hub name.
    """
    if experiment.finetuning is not None:
        return str(run / "upstream" / "finetuned")
    return str(experiment.upstream)  # which is given where there is no fine-tuning


def exported_model(experiment: Experiment, run: Path) -> Path | None:
    """Names the model that becomes `recogniser.tflite`, so that no score chooses it.

    Args:
        experiment: The experiment.
        run: Folder of the run.

    Returns:
        The model of the first network and seed, by `nsl` if it is among the methods, else by
        `base`; None with neither, since the others need the upstream on the device.
    """
    method = released_method(experiment)
    if method is None:
        return None
    return run / "models" / model_label(experiment.networks[0], method, experiment.seeds[0])


def released_method(experiment: Experiment) -> str | None:
    """Names the method of the models that go to devices, so that no score chooses it.

    Args:
        experiment: The experiment.

    Returns:
        `nsl` if it is among the methods, else `base`; None with neither.
    """
    return next((name for name in ("nsl", "base") if name in experiment.methods), None)


def _corpus_steps(corpus: CorpusConfig, manifest: Path) -> Iterator[Step]:
    audio_dir = corpus.audio_dir
    if corpus.synthetic is not None:
        audio_dir = manifest.parent / "audio"
        settings = vars(corpus.synthetic) | {"corpus": corpus.corpus}
        yield Step(make_synthetic_corpus, {"out": audio_dir, **settings})
    yield Step(
        prepare_corpus,
        {
            "corpus": corpus.corpus,
            "audio_dir": audio_dir,
            "out": manifest,
            "table": corpus.table,
            "leave_out": corpus.leave_out,
            "split": corpus.split,
            "skip_bad": corpus.skip_bad,
        },
    )


def _as_embedded(experiment: Experiment, run: Path) -> Path:
    """Embeddings before centring, which asks for all clips of a speaker: not so transfer's."""
    return run / "uncentered" if experiment.center else run / "embeddings"


def _training_steps(experiment: Experiment, network: str, run: Path) -> Iterator[Step]:
    """Trains and scores every method with every seed; base first, to compare the others with."""
    methods = sorted(experiment.methods, key=lambda method: method != "base")
    for seed in experiment.seeds:
        for method in methods:
            label = model_label(network, method, seed)
            model, result = run / "models" / label, run / "results" / f"{label}.json"
            transfers = method in ("add", "max", "avg")
            embeddings = _as_embedded(experiment, run) if transfers else None
            training = replace(experiment.training, seed=seed)
            if method != "nsl":  # a change of the graph's loss leaves the others up to date
                unused = TrainingConfig()
                training = replace(training, **{name: getattr(unused, name) for name in _OF_GRAPH})
            yield Step(
                train_downstream,
                {
                    "features": run / "features",
                    "out": model,
                    "model": network,
                    "method": method,
                    "training_records": run / "training" if method == "nsl" else None,
                    "max_neighbors": experiment.graph.max_neighbors if method == "nsl" else 0,
                    "embeddings": embeddings,
                    "training": training,
                },
            )
            compare = "base" in methods and method != "base"
            base = run / "results" / f"{model_label(network, 'base', seed)}.json"
            yield Step(
                evaluate,
                {
                    "model_dir": model,
                    "records": run / "features",
                    "out": result,
                    "embeddings": embeddings,
                    "compare_with": base if compare else None,
                },
            )


def run_pipeline(experiment: Experiment, run: Path, *, dry_run: bool = False) -> str:
    """Runs the stages that are not up to date.

    Args:
        experiment: The experiment.
        run: Folder for everything that it makes.
        dry_run: Only say what would run.

    Returns:
        The plan (`dry_run`), or the result table and the places of the results.

    Raises:
        InputError: As the stages.
    """
    layers = [experiment.training.layer] if "nsl" in experiment.methods else []
    check_networks(experiment.networks, layers, experiment.front_end, experiment.clip_seconds)
    steps = list(plan(experiment, run))
    if dry_run:
        return _describe_plan(steps, run)
    run.mkdir(parents=True, exist_ok=True)
    save_settings(experiment, run / EXPERIMENT_NAME)
    run_steps(steps)
    make_report(run=run, out=run / "report")  # always: it is quick and measures latency anew
    return _describe_results(experiment, run)


def _describe_plan(steps: list[Step], run: Path) -> str:
    rows = [
        (step.function.__name__, "will run" if waits else "up to date", step.out)
        for step, waits in zip(steps, pending(steps), strict=True)
    ]
    rows.append((make_report.__name__, "will run", run / "report"))
    return tabulate(rows, headers=("stage", "", "output"))


def _describe_results(experiment: Experiment, run: Path) -> str:
    table = tabulate(result_table(run), headers="keys", showindex=False, disable_numparse=True)
    lines = ["", f"{experiment.title}: test split", table, ""]
    if exported_model(experiment, run) is not None:
        lines.append(f"recogniser  {run / 'recogniser.tflite'}")
    lines.append(f"report      {run / 'report' / 'report.html'}")
    if experiment.caution:
        lines.append(f"note        {experiment.caution}")
    return "\n".join(lines)
