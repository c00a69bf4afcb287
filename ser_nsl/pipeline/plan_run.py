"""The plan of a run: both corpora, the upstream, networks by each method, what is exported."""

from dataclasses import replace
from itertools import product
from pathlib import Path

from ser_nsl.export import export_tflite
from ser_nsl.pipeline.arms import ARMS, BASELINES, OF_GRAPH, find_arm
from ser_nsl.pipeline.experiment import Experiment
from ser_nsl.pipeline.plan import SPLITS, Plan, Training
from ser_nsl.pipeline.results import baseline_label, model_label
from ser_nsl.pipeline.steps import Step
from ser_nsl.training.choose import choose_model
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.upstream.finetune import finetune_upstream
from ser_nsl.upstream.train_head import train_head

_FINETUNED, _HEADED = "upstream/finetuned", "upstream/head"


def plan_run(experiment: Experiment, run: Path) -> list[Step]:
    """Plans an experiment.

    Args:
        experiment: The experiment.
        run: Folder for everything that it makes.

    Returns:
        Steps in the order in which they can run.

    Example:
        >>> from ser_nsl.pipeline import load_experiment
        >>> for step in plan_run(load_experiment("ravdess_to_emodb"), Path("run"))[:3]:
        ...     print(step.function.__name__, step.out)
        prepare_corpus run/target/manifest.csv
        extract_features run/features
        extract_embeddings run/uncentered
    """
    validates = experiment.training.keep == "best" or experiment.training.patience > 0
    transfers = any(ARMS[method].is_transfer for method in experiment.methods)
    plan = Plan(
        experiment,
        run,
        trained_upstream(experiment, run),
        splits=SPLITS if validates or transfers else ("train", "test"),
    )
    _plan_upstream(plan, experiment)
    plan.features()
    plan.centered("upstream")
    first = _training(experiment, "", "nsl", experiment.seeds[0])
    if experiment.has_graph:
        plan.training_records(first)
    for kind in BASELINES:
        plan.baseline(kind, first, f"results/{baseline_label(kind)}.json")
    # Base first, to compare the others with.
    methods = sorted(experiment.methods, key=lambda method: method != "base")
    for network, seed in product(experiment.networks, experiment.seeds):
        base = None
        for method in methods:
            label = model_label(network, method, seed)
            training = _training(experiment, network, method, seed)
            model = plan.model(training, f"models/{label}")
            scores = plan.scores(training, model, f"results/{label}.json", base)
            base = scores if method == "base" else base
    candidates = exportable_models(experiment, run)
    if candidates:
        chosen = plan.add(choose_model, "chosen", models=candidates)
        plan.add(
            export_tflite,
            "recogniser.tflite",
            model_dir=chosen,
            manifest=plan.manifest(),
            speech=experiment.speech,
        )
    return [*plan.steps.values()]


def _training(experiment: Experiment, network: str, method: str, seed: int) -> Training:
    settings, graph = replace(experiment.training, seed=seed), experiment.graph
    arm = find_arm(f"start_{method}" if network in experiment.starts else method)
    if method == "nsl":
        return Training(network, arm, settings, graph, graph.max_neighbors)
    # A change of the graph's loss leaves networks without a graph up to date.
    used = ("alpha",) if arm.is_taught else ()
    names = [name for name in (*OF_GRAPH, "edges") if name not in used]
    unused = {name: getattr(TrainingConfig(), name) for name in names}
    return Training(network, arm, replace(settings, **unused))


def _plan_upstream(plan: Plan, experiment: Experiment) -> None:
    """Plans both corpora and what the upstream learns."""
    source = None
    if experiment.source is not None and experiment.learns:
        source = plan.corpus(experiment.source, "source")
    plan.manifest()
    learn = {"upstream": experiment.upstream, "manifest": source}
    if experiment.finetuning is not None:
        plan.add(finetune_upstream, _FINETUNED, config=experiment.finetuning, **learn)
    if experiment.head is not None:
        plan.add(train_head, _HEADED, config=experiment.head, **learn)


def trained_upstream(experiment: Experiment, run: Path) -> str:
    """Returns the folder or hub name of the checkpoint that embeds the target in a run."""
    if experiment.learns:
        return str(run / (_HEADED if experiment.finetuning is None else _FINETUNED))
    return experiment.upstream


def exportable_models(experiment: Experiment, run: Path) -> tuple[Path, ...]:
    """Returns the models of which the best validated one becomes `recogniser.tflite`.

    Args:
        experiment: The experiment.
        run: Folder of the run.

    Returns:
        Models for each network, method and seed, base first, but for methods that need the
        upstream on the device.
    """
    methods = [name for name in ARMS if name in experiment.methods and not ARMS[name].is_transfer]
    return tuple(
        run / "models" / model_label(*each)
        for each in product(experiment.networks, methods, experiment.seeds)
    )
