"""The labels that training may use: none of the test split, and only a share in some studies."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import trace

_PASSING_LABELS_ON = {
    "probe_embeddings": "whose probe used",
    "propagate_labels": "for which a graph carried",
}
"""Stages whose outputs depend on labels, and how errors say so."""


def known_labels(ids: Sequence[str], labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Keeps a share of each class's labels and hides the others.

    Whether a clip keeps its label depends on the ids, not on their order. A larger share keeps all
    labels that a smaller one keeps.

    Args:
        ids: Utterance ids of the clips.
        labels: int, shape `(clips,)`; -1 for none.
        share: Share of each class's clips that keep their label, above 0, at most 1; the number of
            clips is rounded up.
        seed: Seed of the random choice.

    Returns:
        int, shape `(clips,)`: the labels, with -1 in place of the hidden ones.

    Example:
        >>> known_labels(["a", "b", "c", "d"], np.array([0, 0, 1, 1]), share=0.5, seed=0)
        array([-1,  0,  1, -1])
    """
    ranks = np.array([hashlib.sha256(f"{seed} {name}".encode()).hexdigest() for name in ids])
    known = np.full_like(labels, UNLABELLED)
    for label in np.unique(labels[labels != UNLABELLED]):
        rows = np.flatnonzero(labels == label)
        count = math.ceil(round(share * len(rows), 6))  # 0.07 x 100 is above 7
        known[rows[np.argsort(ranks[rows])][:count]] = label
    return known


def check_share(share: float) -> None:
    """Checks a share of labels.

    Args:
        share: As for `known_labels`.

    Raises:
        InputError: If it is out of range.
    """
    if not 0 < share <= 1:
        raise InputError(f"label_share: must be above 0 and at most 1; received {share}.")


def check_splits(splits: Sequence[str]) -> None:
    """Refuses to train on clips that test.

    Args:
        splits: Splits whose clips train, or shape the graph.

    Raises:
        InputError: If the test split is among them.
    """
    if "test" in splits:
        raise InputError(
            "splits: the test split must have no part in graph and training; choose train or "
            "train val."
        )


def check_hidden(
    made: Path,
    share: float,
    seed: int,
    splits: Sequence[str] = ("train",),
    *,
    argument: str,
) -> None:
    """Refuses outputs that were made with labels that must be hidden.

    A probe passes on the labels that it trained with, and a graph those that it carried, through
    embeddings, graph and training records. The labels of clips that do not train must be hidden
    too. Where a share is known, it is drawn from the clips of all splits that train, so those of
    probe and training must be the same.

    Args:
        made: Output of a stage.
        share: Share of the labels that are known, as for `known_labels`.
        seed: Seed of the random choice.
        splits: Splits whose clips train.
        argument: Name of the argument that `made` was given as, for the error.

    Raises:
        InputError: If it was made from the output of a probe, or by a graph, that used other
            labels.
    """
    if share == 1 and {"train", "val"} <= {*splits}:
        return
    for path, record in trace(made, hashed=share < 1):
        if record.get("stage") not in _PASSING_LABELS_ON:
            continue
        probed = record["settings"]
        used = probed.get("splits", ["train"])  # older records do not say
        is_other = not {*used} <= {*splits}
        if share < 1:
            is_other |= {*used} != {*splits}
            is_other |= probed["label_share"] > share or probed["seed"] != seed
        if is_other:
            raise InputError(
                f"{argument}: {made} comes from {path.name}, {_PASSING_LABELS_ON[record['stage']]} "
                f"{probed['label_share']:.0%} of the labels of {' and '.join(used)} (seed "
                f"{probed['seed']}), but only {share:.0%} of those of {' and '.join(splits)} (seed "
                f"{seed}) may be known. Probe again with --label-share {share:g} --seed {seed} "
                f"--splits {' '.join(splits)}, and make what follows from that."
            )
