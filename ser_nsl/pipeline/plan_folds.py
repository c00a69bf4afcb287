"""The plans of a sweep: the same chain over folds of speakers, for many trainings."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.arms import ARMS, OF_GRAPH, find_arm
from ser_nsl.pipeline.choice import Choice
from ser_nsl.pipeline.plan import Plan, Training
from ser_nsl.pipeline.steps import Step
from ser_nsl.pipeline.sweep_config import SweepConfig
from ser_nsl.pipeline.sweep_run import LINEAR, Run

_CARRYING = 10  # neighbours along which labels are carried
_SPARE = 10  # neighbours packed for each that is used, where training leaves some edges out


def plan_folds(config: SweepConfig, folds: Iterable[int], work: Path) -> dict[int, Plan]:
    """Starts the plans of some folds of a sweep; `Plan.inputs` of a training adds its steps.

    Args:
        config: The sweep.
        folds: Numbers of folds, from 0.
        work: Folder for what trainings share.

    Returns:
        Plans by fold, which share their steps.
    """
    steps: dict[Path, Step] = {}

    def start(fold: int, first: Plan | None) -> Plan:
        folder = work / f"fold{fold}"
        lists = SplitConfig(method="lists", lists=folder / "speakers.json")
        split = config.folds[fold].split or lists
        setup = replace(config, target=replace(config.target, split=split))
        return Plan(
            setup,
            folder,
            config.upstream,
            speech=config.speech,
            teaching=config.teaching,
            fold=fold,
            first=first,
            steps=steps,
        )

    first = start(0, None)
    return {fold: start(fold, first) if fold else first for fold in folds}


def sweep_training(config: SweepConfig, run: Run, choice: Choice | None = None) -> Training:
    """Returns the training of a run of a sweep.

    Args:
        config: The sweep.
        run: The run.
        choice: The trial and the number of epochs of a run that scores test speakers, which is
            that trial, stopped there. Without it, what the run reads is the same.
    """
    trial = choice.trial if choice else run.trial
    settings = config.trial_training(trial) if trial else config.training
    settings = replace(settings, label_share=run.label_share, seed=run.seed, patience=0)
    settings = replace(settings, keep="last" if run.test else "best")
    if choice is not None:
        settings = replace(settings, epochs=choice.epochs)
    splits: tuple[Literal["train", "val"], ...] = ("train",)
    if config.joined and run.test:
        splits = ("train", "val")
    arm = ARMS["base"] if run.network == LINEAR else find_arm(run.method)
    # Within a speaker, clips are similar whatever they express.
    across = GraphConfig(
        similarity_threshold=0.0,
        builder="exact",
        across_speakers=True,
        embeddings=arm.embeddings or "upstream",
        max_neighbors=_CARRYING,
        edges="nearest",
    )
    if not arm.has_graph:
        return Training(run.network, arm, settings, across, splits=splits)
    of_graph = {name: getattr(run, name) for name in OF_GRAPH if getattr(run, name) is not None}
    settings = replace(settings, edges=arm.edges, **of_graph)
    packed = run.n if arm.control and arm.edges == "all" else run.n * _SPARE
    graph = replace(
        config.graph if arm.paper else across,
        embeddings=across.embeddings,
        max_neighbors=packed,
        edges="all" if arm.paper else "nearest",  # its threshold leaves few
        packing="indexed",
    )
    return Training(run.network, arm, settings, graph, run.n, splits)
