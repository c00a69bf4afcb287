"""What training may know: never the test split, and in studies of few labels only some."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser_nsl.audio.records import UNLABELLED
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import trace


def known_labels(ids: Sequence[str], labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Hides labels, of each class alike.

    Whether a clip keeps its label depends on the ids, not on their order; what a share keeps, a
    larger one keeps too.

    Args:
        ids: Of the clips.
        labels: int, shape `(clips,)`; -1 for none.
        share: Of each class's clips that keep their label, above 0, at most 1; rounded up.
        seed: Of the draw.

    Returns:
        The labels, with -1 in place of the hidden ones.
    """
    draws = np.array([hashlib.sha256(f"{seed} {each}".encode()).hexdigest() for each in ids])
    known = np.full_like(labels, UNLABELLED)
    for label in np.unique(labels[labels != UNLABELLED]):
        rows = np.flatnonzero(labels == label)
        count = math.ceil(round(share * len(rows), 6))  # 0.07 x 100 is above 7
        known[rows[np.argsort(draws[rows])][:count]] = label
    return known


def check_share(share: float) -> None:
    """Refuses a share of labels that cannot be one.

    Args:
        share: As for `known_labels`.

    Raises:
        InputError: If it is out of range.
    """
    if not 0 < share <= 1:
        raise InputError(f"label_share: must be above 0 and at most 1; received {share}.")


def check_splits(splits: Sequence[str]) -> None:
    """Refuses to learn from the clips that shall tell what was learned.

    Args:
        splits: Whose clips train, or shape the graph.

    Raises:
        InputError: If the test split is among them.
    """
    if "test" in splits:
        raise InputError(
            "splits: the test split must have no part in graph and training; choose train or "
            "train val."
        )


def check_hidden(made: Path, share: float, seed: int, *, argument: str) -> None:
    """Refuses what was made with labels that shall be hidden.

    A probe that has seen them hands them on, through embeddings, graph and training records.

    Args:
        made: Output of a stage.
        share: Of the labels that are known, as for `known_labels`.
        seed: Of the draw.
        argument: What `made` was given as, for the error.

    Raises:
        InputError: If a probe that knew other labels has a part in it.
    """
    if share == 1:
        return
    for path, record in trace(made):
        probed = record["settings"]
        if record["stage"] != "probe_embeddings":
            continue
        if probed["label_share"] > share or probed["seed"] != seed:
            raise InputError(
                f"{argument}: {made} comes from {path.name}, whose probe knew "
                f"{probed['label_share']:.0%} of the labels (seed {probed['seed']}); of these "
                f"{share:.0%} (seed {seed}) shall be known only. Probe again with --label-share "
                f"{share:g} --seed {seed}, and make the graph and its records from that."
            )
