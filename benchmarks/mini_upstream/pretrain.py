"""The stage that trains an upstream on speech without labels."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.mini_upstream.settings import PretrainingConfig
from ser_nsl.audio.folders import find_audio
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage


@stage(inputs=("audio", "upstream"), makes="folder", resumes=True)
def pretrain_upstream(
    *,
    audio: tuple[Path, ...],
    upstream: str,
    out: Path,
    config: PretrainingConfig = PretrainingConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Trains an upstream on speech without labels, from the start or to adapt it to a corpus.

    A new one, made by make-upstream, needs --config.convolution-epochs for its convolutions;
    otherwise they stay as they are and only the transformer learns. Fine-tune afterwards: the
    emotion head, if there is one, does not fit the changed layers below it. The default learning
    rates suit small models; for published ones choose --config.learning-rate 1e-4 or less. A
    stopped run, started again, resumes after its last whole epoch.

    Args:
        audio: Folders, of which every clip is used, and manifests, of which the clips of the
            training split are used.
        upstream: Hub name or folder of a checkpoint.
        out: Folder for the checkpoint, in Hugging Face form, and `history.json`.
        config: Epochs, masks and clusters.

    Returns:
        Number of clips and of windows, hours, and the loss of the last epoch of each part.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, there is no clip, or the loss is
            not finite.

    Example:
        >>> pretrain_upstream(  # doctest: +SKIP
        ...     audio=(Path("emodb.csv"),),
        ...     upstream="facebook/wav2vec2-base",
        ...     out=Path("adapted"),
        ...     config=PretrainingConfig(epochs=5, learning_rate=1e-4),
        ... )
    """
    paths = _find_clips(audio)
    from benchmarks.mini_upstream.pretrainer import Pretrainer

    work = out / "unfinished"
    work.mkdir(exist_ok=True)
    pretrainer = Pretrainer(upstream, config, work)
    losses = {}
    if config.convolution_epochs:
        losses["convolutions"] = pretrainer.train_convolutions(paths)
    windows, seconds = pretrainer.compute_frames(paths)
    losses["transformer"] = pretrainer.train_transformer()
    pretrainer.save(out)
    (out / "history.json").write_text(json.dumps(losses, indent=1) + "\n")
    shutil.rmtree(work)
    return {
        "clips": len(paths),
        "windows": windows,
        "hours": round(seconds / 3600, 2),
        "losses": {part: round(epochs[-1], 3) for part, epochs in losses.items() if epochs},
    }


def _find_clips(audio: Sequence[Path]) -> list[Path]:
    paths: list[Path] = []
    for place in audio:
        if place.is_dir():
            found = list(find_audio(place).clips)
        else:
            table = read_manifest(place)
            found = audio_paths(table[table["split"] == "train"], place, None)
        if not found:
            raise InputError(f"audio: {place} holds no clip to learn from.")
        paths += found
    if not paths:
        raise InputError("audio: give one folder or manifest, or more.")
    return paths
