"""The stage from clips to log Mel records, and the description beside the records."""

import json
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_batches, read_clips
from ser_nsl.audio.damage import DamageConfig, damaged_to_length
from ser_nsl.audio.examples import LARGEST, UNLABELLED, feature_example
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import LONGEST_SECONDS, FrontEndConfig
from ser_nsl.audio.shards import ShardWriter, copy_name
from ser_nsl.corpora.manifest import (
    SPLITS,
    audio_paths,
    longest_training_clip,
    read_manifest,
)
from ser_nsl.errors import InputError
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.places import place
from ser_nsl.pipeline.settings import check
from ser_nsl.pipeline.stage import stage

_BATCH = 16
_MOST_COPIES = 100
_LEAST_DEVIATION_DB = 1e-3  # a band without any energy stays at its mean


@dataclass(frozen=True)
class Description:
    """The meaning of the numbers in feature records; it goes with every model made from them.

    Attributes:
        front_end: Settings from waveform to log Mel.
        clip_samples: Length of every clip.
        classes: Emotions in the order of the labels; none where no clip has a label.
        mean: Mean of each Mel band over the training split, in dB.
        deviation: Standard deviation of each Mel band over the training split, in dB.

    Raises:
        ValueError: If a value is out of its range.

    Example:
        >>> description = Description.load(Path("features"))
        >>> description.classes
        ('anger', 'neutral', 'sadness')
        >>> description.logmel_shape
        (36, 64)
    """

    front_end: FrontEndConfig
    clip_samples: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        samples, bands = self.clip_samples, self.front_end.mel_bins
        longest = LONGEST_SECONDS * self.front_end.sample_rate_hz
        whole = isinstance(samples, int) and self.front_end.window_samples <= samples <= longest
        check(whole, "clip_samples", f"a number from one window to {longest}", samples)
        named = all(isinstance(name, str) and name for name in self.classes)
        different = named and len(set(self.classes)) == len(self.classes)
        check(different, "classes", "names, all different", self.classes)
        for name in ("mean", "deviation"):
            values = getattr(self, name)
            number = len(values) == bands and bool((np.abs(values) < LARGEST).all())
            check(number, name, f"{bands} finite numbers of dB", values)
        check(min(self.deviation) > 0, "deviation", "above 0", min(self.deviation))

    @property
    def logmel_shape(self) -> tuple[int, int]:
        """Frames and Mel bands of a clip."""
        return self.front_end.frames(self.clip_samples), self.front_end.mel_bins

    def save(self, folder: Path) -> None:
        """Writes `description.json`."""
        (Path(folder) / "description.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Description":
        """Reads `description.json` of a folder of features or of a model.

        Args:
            folder: Folder made by `extract_features`, `train_downstream` or `save_model`.

        Returns:
            The description.

        Raises:
            InputError: If the file is missing or has another form.
        """
        path = place(folder) / "description.json"
        try:
            values = json.loads(path.read_text())
            # Descriptions of former versions lack the level.
            front_end = {"level": "none", **values.pop("front_end")}
            lacking = {each.name for each in fields(FrontEndConfig)} - front_end.keys()
            check(not lacking, "front_end", "whole", f"none of {', '.join(sorted(lacking))}")
            for name in ("classes", "mean", "deviation"):
                check(isinstance(values[name], list), name, "a list", values[name])
            return cls(
                front_end=FrontEndConfig(**front_end),
                clip_samples=values.pop("clip_samples"),
                **{name: tuple(value) for name, value in values.items()},
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f"{folder}: description.json is missing, so it holds no features and no model, or "
                "not all of them; make them with ser-nsl extract-features or train-downstream."
            ) from error
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: is not a description of features ({error}).") from error


@stage(inputs=("manifest", "audio_dir"), makes="folder")
def extract_features(
    *,
    manifest: Path,
    out: Path,
    audio_dir: Path | None = None,
    clip_seconds: float | None = None,
    front_end: FrontEndConfig = FrontEndConfig(),  # noqa: B008 (frozen)
    copies: int = 0,
    damages: DamageConfig = DamageConfig(),  # noqa: B008 (frozen)
    shards: int = 4,
) -> Mapping[str, Any]:
    """Writes log Mel records of every clip.

    All clips are brought to one length: longer ones are cut, shorter ones repeated. Records hold
    log Mel in dB. The mean and deviation of each band, from the training split only, go to
    `description.json` and from there into the first layer of every network.

    Damaged copies go to records of their own, which only training reads: in each epoch a training
    clip is at random itself or one of its copies. Mean and deviation are those of the clean clips,
    so that copies change nothing but what a network sees. A copy follows from the clip's id and
    the number of the copy; those of other splits are for divisions of the same records.

    Args:
        manifest: Manifest of the corpus.
        out: Folder for `{split}-00000-of-00004.tfrecord`, `copy1-00000-of-00004.tfrecord` and so
            on, and `description.json`.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        clip_seconds: Length of every clip in seconds; by default that of the longest
            training clip.
        front_end: Window, hop and bands.
        copies: Number of damaged copies of each clip; 0 for none.
        damages: Shares of the copies that are damaged in each way.
        shards: Files per split.

    Returns:
        Number of clips of each split, frames per clip, and hours of audio.

    Raises:
        InputError: If there are copies at another sample rate than 16 kHz, the manifest or a clip
            breaks a rule, clips are shorter than one window, or the longest training clip would
            stretch all others.

    Example:
        >>> made = extract_features(
        ...     manifest=Path("manifest.csv"), out=Path("short"), clip_seconds=0.1
        ... )
        >>> made.counts
        {'train': 12, 'val': 12, 'test': 12, 'frames': 5, 'hours': 0.001}
    """
    import tensorflow as tf

    if not 0 <= copies <= _MOST_COPIES:
        raise InputError(f"copies: must be 0 to {_MOST_COPIES}; received {copies}.")
    if copies and front_end.sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(
            f"copies: damages are made at {SAMPLE_RATE_HZ} Hz; received {copies} copies at "
            f"{front_end.sample_rate_hz} Hz. Choose --copies 0 or another front end."
        )
    table = read_manifest(manifest)
    table["audio"] = audio_paths(table, manifest, audio_dir)
    if clip_seconds is None:
        clip_seconds = longest_training_clip(table, source=manifest)["duration_seconds"]
    clip_samples = front_end.clip_samples(clip_seconds)
    frames = front_end.frames(clip_samples)
    classes = sorted(set(table["emotion"]) - {""})
    labels = {emotion: i for i, emotion in enumerate(classes)} | {"": UNLABELLED}
    compute = tf.function(lambda waveform: log_mel(waveform, front_end), reduce_retracing=True)
    moments = Moments(front_end.mel_bins)
    counts = {}
    with ExitStack() as opened:
        bar = opened.enter_context(Bar(total=len(table), desc="log Mel", unit="clip"))
        for split in SPLITS:
            rows = table[table["split"] == split]
            if rows.empty:
                continue
            writer = opened.enter_context(ShardWriter(out, split, shards))
            clips = iter(zip(rows["utterance_id"], rows["emotion"], strict=True))
            rate = front_end.sample_rate_hz
            for waveforms in read_batches(
                list(rows["audio"]), clip_samples, batch=_BATCH, sample_rate_hz=rate
            ):
                for logmel in compute(waveforms).numpy():
                    utterance_id, emotion = next(clips)
                    writer.write(feature_example(utterance_id, logmel, labels[emotion]))
                    if split == "train":
                        moments.update(logmel)
                bar.update(len(waveforms))
            counts[split] = writer.written
        for number in range(1, copies + 1):
            writer = opened.enter_context(ShardWriter(out, copy_name(number), shards))
            bar = opened.enter_context(Bar(total=len(table), desc=f"copy {number}", unit="clip"))
            ids, emotions = table["utterance_id"], table["emotion"]
            heard = read_clips(list(table["audio"]))
            for utterance_id, emotion, clip in zip(ids, emotions, heard, strict=True):
                seed = (zlib.crc32(utterance_id.encode()), number)
                waveform = damaged_to_length(clip, clip_samples, seed, damages)
                logmel = compute(waveform[np.newaxis]).numpy()[0]
                writer.write(feature_example(utterance_id, logmel, labels[emotion]))
                bar.update()
    Description(front_end, clip_samples, tuple(classes), *moments.result()).save(out)
    hours = len(table) * clip_samples / front_end.sample_rate_hz / 3600
    return {**counts, "frames": frames, "hours": round(hours, 3)}


class Moments:
    """Mean and standard deviation of each Mel band, gathered clip by clip."""

    def __init__(self, mel_bins: int) -> None:
        """Starts without clips.

        Args:
            mel_bins: Number of Mel bands.
        """
        self._frames = 0
        self._sum = np.zeros(mel_bins)
        self._squares = np.zeros(mel_bins)

    def update(self, logmel: np.ndarray) -> None:
        """Adds a clip.

        Args:
            logmel: float, shape `(frames, mel_bins)`, in dB.
        """
        values = logmel.astype(np.float64)
        self._frames += len(values)
        self._sum += values.sum(axis=0)
        self._squares += (values**2).sum(axis=0)

    def result(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns mean and standard deviation of each band, in dB."""
        mean = self._sum / self._frames
        variance = self._squares / self._frames - mean**2
        deviation = np.sqrt(np.maximum(variance, _LEAST_DEVIATION_DB**2))
        return tuple(mean.tolist()), tuple(deviation.tolist())
