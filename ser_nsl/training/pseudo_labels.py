"""The stage that gives unlabelled clips pseudo-labels: the baseline that a graph must beat."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import UNLABELLED, example_id
from ser_nsl.audio.features import Description
from ser_nsl.audio.records import read_embeddings, read_labels
from ser_nsl.audio.shards import shard_paths
from ser_nsl.corpora.labels import check_hidden, check_share, check_splits, known_labels
from ser_nsl.errors import refuse
from ser_nsl.lazy import tf
from ser_nsl.pipeline.stage import stage
from ser_nsl.training.probabilities import check_probabilities


@stage(inputs=("features", "embeddings"), makes="folder", remote=("features", "embeddings"))
def pseudo_label(
    *,
    features: Path,
    embeddings: Path,
    out: Path,
    label_share: float = 1.0,
    seed: int = 0,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
) -> Mapping[str, Any]:
    """Labels unlabelled training clips with the emotion that a probe finds most probable.

    Plain training on these pseudo-labels uses what the probe knows without a graph. Labels that
    training may know stay as they are, and so do those of clips of other splits.

    Args:
        features: Folder with log Mel records.
        embeddings: Folder with the probabilities of the training clips, made by
            `probe_embeddings`.
        out: Folder for the records with pseudo-labels.
        label_share: Share of the labels that training may know, as for the probe.
        seed: Seed of the choice of these labels, as for the probe.
        splits: Splits whose clips train, as for the probe; never the test split. Of `train val` the
            validation clips have pseudo-labels too, and must train.

    Returns:
        Numbers of training clips, of known labels, and of pseudo-labels.

    Raises:
        InputError: If the share is out of range, the test split is among the splits, the probe knew
            other labels, a clip was not probed, or the probabilities are not those of the classes.

    Example:
        >>> from ser_nsl.embeddings import probe_embeddings
        >>> probed = probe_embeddings(embeddings=Path("embeddings"), manifest=Path("manifest.csv"),
        ...     out=Path("probed"), label_share=0.5)
        >>> made = pseudo_label(features=Path("features"), embeddings=Path("probed"),
        ...     out=Path("pseudo_labelled"), label_share=0.5)
        >>> made.counts
        {...}
    """
    check_share(label_share)
    check_splits(splits)
    check_hidden(embeddings, label_share, seed, splits, argument="embeddings")
    description, labels = Description.load(features), read_labels(features, *splits)
    probabilities = read_embeddings(embeddings, splits)
    missing = [utterance_id for utterance_id in labels if utterance_id not in probabilities]
    rule = f"embeddings: {embeddings} lacks clips of {features}"
    refuse(missing, rule, "Probe all training clips.")
    vectors = np.stack([probabilities[utterance_id] for utterance_id in labels])
    check_probabilities(vectors, len(description.classes), embeddings)
    ids = [*labels]
    known = known_labels(ids, np.array([*labels.values()]), label_share, seed)
    likeliest = vectors.argmax(axis=1)
    unknown = known == UNLABELLED
    label_of = dict(zip(ids, np.where(unknown, likeliest, known).tolist(), strict=True))
    filled_in = [path for split in splits for path in shard_paths(features, split)]
    for path in filled_in:
        with tf.io.TFRecordWriter(str(out / path.name)) as writer:
            for example in read_examples([path]):
                label = example.features.feature["label"].int64_list.value
                label[:] = [label_of[example_id(example)]]
                writer.write(example.SerializeToString(deterministic=True))
    names = {path.name for path in filled_in}
    for path in features.glob("*.tfrecord"):
        if path.name not in names:
            tf.io.gfile.copy(str(path), str(out / path.name))
    description.save(out)
    filled = int(unknown.sum())
    return {"clips": len(ids), "known": len(ids) - filled, "pseudo_labelled": filled}
