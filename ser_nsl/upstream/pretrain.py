"""The stage that teaches an upstream to hear, from speech without labels.

Two lessons that suit a CPU. In the first one the convolutions learn to tell log Mel frames from
the waveform. In the second one they are frozen, so that they run only once, and the transformer
learns to guess the clusters of log Mel frames that it cannot see, as HuBERT does (arXiv
2106.07447), while FC1 learns how a clip sounds on the whole.
"""

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.cluster import MiniBatchKMeans
from tqdm import tqdm
from transformers import TFWav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor
from transformers.modeling_tf_utils import keras

from ser_nsl.audio.clip import SUFFIXES, cut_windows, read_batches, read_clips
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.progress import Progress
from ser_nsl.pipeline.stage import stage
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.dropout import seed_dropout
from ser_nsl.upstream.encoder import (
    frame_features,
    frame_statistics,
    hidden_states,
    random_spans,
    standardise,
)
from ser_nsl.upstream.position import mend_position_convolution
from ser_nsl.upstream.settings import PretrainingConfig

_FLOOR_DB = -20.0  # of standardised clips: below it there is little but noise
_MEL_BINS = 64
_MOST_CLUSTERED_FRAMES = 200_000
_GRADIENT_NORM = 1.0
_WARM_UP_SHARE = 0.1


@stage(inputs=("audio", "upstream"), makes="folder", resumes=True)
def pretrain_upstream(
    *,
    audio: tuple[Path, ...],
    upstream: str,
    out: Path,
    config: PretrainingConfig = PretrainingConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Teaches an upstream from speech without labels, be it new or to adapt it to a corpus.

    A new one, made by tools/make_upstream.py, needs --config.convolution-epochs for its
    convolutions; without, they are left as they are and only the transformer learns. Fine-tune
    afterwards: the emotion head, if there is one, does not follow what changes beneath it. The
    default rates suit small models; for published ones choose --config.learning-rate 1e-4 or less.
    A run that was stopped goes on after its last whole epoch.

    Args:
        audio: Where the speech is: folders, of which every clip is used, and manifests, of which
            the clips of the train split are.
        upstream: Hub name or folder of a checkpoint.
        out: Folder for the checkpoint, in Hugging Face form, and `history.json`.
        config: Epochs, masks and clusters.

    Returns:
        Number of clips and of windows, hours, and the loss of each lesson's last epoch.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, there is no clip, or the loss is
            not finite.
    """
    paths = _find_clips(audio)
    keras.utils.set_random_seed(config.seed)
    model, extractor = load_upstream(upstream, needs_head=False)
    # The TensorFlow model would draw the layers to drop once only, when a step is traced.
    model.config.layerdrop = 0.0
    if not hasattr(model.wav2vec2, "masked_spec_embed"):
        raise InputError(
            f"upstream: {upstream!r} has no mask to show in the place of hidden frames; set "
            "mask_time_prob in its config.json above 0."
        )
    mend_position_convolution(model)
    work = out / "unfinished"
    work.mkdir(exist_ok=True)
    hear = functools.partial(_hear, extractor=extractor, frames=_frames_like(model))
    losses = {}
    if config.convolution_epochs:
        losses["convolutions"] = _teach_convolutions(model, extractor, hear, paths, config, work)
    speech = _Speech(model, extractor, hear, paths, config, work)
    losses["transformer"] = _teach_transformer(model, speech, config, work)
    model.save_pretrained(out, safe_serialization=True)
    extractor.save_pretrained(out)
    (out / "history.json").write_text(json.dumps(losses, indent=1) + "\n")
    shutil.rmtree(work)
    return {
        "clips": len(paths),
        "windows": len(speech.frames),
        "hours": round(speech.seconds / 3600, 2),
        "losses": {lesson: round(each[-1], 3) for lesson, each in losses.items() if each},
    }


def _find_clips(audio: Sequence[Path]) -> list[Path]:
    paths: list[Path] = []
    for place in audio:
        if place.is_dir():
            found = sorted(
                p
                for p in place.rglob("*")
                if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
            )
        else:
            table = read_manifest(place)
            table = table[table["split"] == "train"]
            found = audio_paths(table, place, None)
        if not found:
            raise InputError(f"audio: {place} holds no clip to learn from.")
        paths += found
    if not paths:
        raise InputError("audio: give one folder or manifest, or more.")
    return paths


def _frames_like(model: TFWav2Vec2ForSequenceClassification) -> FrontEndConfig:
    """Log Mel frames that see the samples which the convolutions' outputs see."""
    window, hop = 1, 1
    for kernel, stride in zip(model.config.conv_kernel, model.config.conv_stride, strict=True):
        window, hop = window + (kernel - 1) * hop, hop * stride
    return FrontEndConfig(window_samples=window, hop_samples=hop, mel_bins=_MEL_BINS)


def _hear(
    waveform: tf.Tensor, *, extractor: Wav2Vec2FeatureExtractor, frames: FrontEndConfig
) -> tf.Tensor:
    """Log Mel as the upstream hears: of standardised clips, float32 `(batch, frames, mels)`."""
    return tf.maximum(log_mel(standardise(waveform, extractor), frames), _FLOOR_DB)


class _Speech:
    """What the second lesson needs, of all windows of all clips.

    Attributes:
        frames: float16, shape `(windows, frames, channels)`: outputs of the frozen convolutions.
        clusters: int16, shape `(windows, frames)`: cluster of the log Mel frame there.
        seconds: Length of all clips.
    """

    def __init__(
        self,
        model: TFWav2Vec2ForSequenceClassification,
        extractor: Wav2Vec2FeatureExtractor,
        hear: Callable[[tf.Tensor], tf.Tensor],
        paths: Sequence[Path],
        config: PretrainingConfig,
        work: Path,
    ) -> None:
        samples = round(config.clip_seconds * extractor.sampling_rate)
        signature = [tf.TensorSpec((None, samples), tf.float32)]
        self.seconds = 0.0

        @tf.function(input_signature=signature, autograph=False)
        def compute(windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            frames = frame_features(model, windows, extractor)
            return tf.cast(frames, tf.float16), tf.cast(hear(windows), tf.float16)

        spill = work / "frames", work / "log_mel"
        windows = 0
        with spill[0].open("wb") as frame_file, spill[1].open("wb") as mel_file:
            clips = read_clips(paths, ahead=8)
            for clip in tqdm(clips, "frozen convolutions", len(paths), unit="clip"):
                self.seconds += len(clip) / extractor.sampling_rate
                of_clip = cut_windows(clip, samples)
                for start in range(0, len(of_clip), config.batch_size):
                    few = of_clip[start : start + config.batch_size]
                    frames, mel = (each.numpy() for each in compute(few))
                    frame_file.write(frames)
                    mel_file.write(mel)
                windows += len(of_clip)
        self.frames = np.memmap(spill[0], np.float16, "r", shape=(windows, *frames.shape[1:]))
        mel = np.memmap(spill[1], np.float16, "r", shape=(windows, *mel.shape[1:]))
        self.clusters = _cluster(mel, config)


def _cluster(mel: np.ndarray, config: PretrainingConfig) -> np.ndarray:
    """Numbers of the clusters nearest to log Mel frames, int16 `(windows, frames)`."""
    frames = mel.reshape(-1, mel.shape[-1])
    random = np.random.default_rng(config.seed)
    some = min(len(frames), _MOST_CLUSTERED_FRAMES)
    if some < config.clusters:
        raise InputError(
            f"config.clusters: must be at most the number of frames, {some} in this speech; "
            f"received {config.clusters}."
        )
    sample = frames[np.sort(random.choice(len(frames), some, replace=False))].astype(np.float32)
    mean, deviation = sample.mean(axis=0), sample.std(axis=0) + 1e-3
    means = MiniBatchKMeans(
        config.clusters, batch_size=4_096, n_init=1, random_state=config.seed
    ).fit((sample - mean) / deviation)
    return np.stack(
        [means.predict((window.astype(np.float32) - mean) / deviation) for window in mel]
    ).astype(np.int16)


def _teach_convolutions(
    model: TFWav2Vec2ForSequenceClassification,
    extractor: Wav2Vec2FeatureExtractor,
    hear: Callable[[tf.Tensor], tf.Tensor],
    paths: Sequence[Path],
    config: PretrainingConfig,
    work: Path,
) -> list[float]:
    """From a linear map of the convolutions' outputs to standardised log Mel frames."""
    samples = round(config.clip_seconds * extractor.sampling_rate)
    some = np.random.default_rng(config.seed).choice(len(paths), min(len(paths), 256), False)
    heard = hear(next(read_batches([paths[i] for i in some], samples, batch=len(some))))
    mean, variance = tf.nn.moments(heard, axes=[0, 1])
    head = keras.layers.Dense(_MEL_BINS)
    head.build((None, None, model.config.conv_dim[-1]))

    def loss(waveform: tf.Tensor) -> tf.Tensor:
        target = (hear(waveform) - mean) * tf.math.rsqrt(variance + 1e-6)
        return tf.reduce_mean((head(frame_features(model, waveform, extractor)) - target) ** 2)

    def batches(random: np.random.Generator) -> Iterator[tuple[np.ndarray]]:
        order = [paths[i] for i in random.permutation(len(paths))]
        for waveforms in read_batches(order, samples, batch=config.batch_size):
            yield (waveforms,)

    return _learn(
        "convolutions",
        loss,
        batches,
        [*model.wav2vec2.feature_extractor.trainable_variables, *head.trainable_variables],
        signature=[tf.TensorSpec((None, samples), tf.float32)],
        epochs=config.convolution_epochs,
        steps=-(-len(paths) // config.batch_size),
        learning_rate=config.convolution_learning_rate,
        config=config,
        work=work,
    )


def _teach_transformer(
    model: TFWav2Vec2ForSequenceClassification,
    speech: _Speech,
    config: PretrainingConfig,
    work: Path,
) -> list[float]:
    """From the frames around a mask to the clusters behind it, and to the clip's statistics."""
    model.freeze_feature_encoder()
    dropout_seed = seed_dropout(model)
    windows, frames, channels = speech.frames.shape
    guess = keras.layers.Dense(config.clusters)
    guess.build((None, None, model.config.hidden_size))
    tell = keras.layers.Dense(2 * channels)
    tell.build((None, model.projector.units))
    some = np.random.default_rng(config.seed).choice(windows, min(windows, 1_000), replace=False)
    mean, variance = tf.nn.moments(frame_statistics(speech.frames[np.sort(some)]), axes=[0])

    def loss(features: tf.Tensor, clusters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        dropout_seed.assign(seed)
        shape = tf.shape(clusters)
        masked = random_spans(
            (shape[0], shape[1]), config.mask_share, config.mask_frames, seed=seed
        )
        features = tf.cast(features, tf.float32)
        hidden = hidden_states(model, features, training=True, masked=masked)[-1]
        hidden_clusters, guesses = (
            tf.boolean_mask(clusters, masked),
            guess(tf.boolean_mask(hidden, masked)),
        )
        wrong = tf.nn.sparse_softmax_cross_entropy_with_logits(hidden_clusters, guesses)
        told = tell(tf.reduce_mean(model.projector(hidden), axis=1))
        statistics = (frame_statistics(features) - mean) * tf.math.rsqrt(variance + 1e-6)
        mean_wrong = tf.math.divide_no_nan(
            tf.reduce_sum(wrong), tf.cast(tf.size(wrong), tf.float32)
        )
        return mean_wrong + tf.reduce_mean((told - statistics) ** 2)

    def batches(random: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
        order = random.permutation(windows)
        for start in range(0, windows, config.batch_size):
            chosen = np.sort(order[start : start + config.batch_size])
            seed = random.integers(2**62, size=2)
            yield speech.frames[chosen], speech.clusters[chosen].astype(np.int32), seed

    encoder = model.wav2vec2
    return _learn(
        "transformer",
        loss,
        batches,
        [
            *encoder.feature_projection.trainable_variables,
            *encoder.encoder.trainable_variables,
            encoder.masked_spec_embed,
            *model.projector.trainable_variables,
            *guess.trainable_variables,
            *tell.trainable_variables,
        ],
        signature=[
            tf.TensorSpec((None, frames, channels), tf.float16),
            tf.TensorSpec((None, frames), tf.int32),
            tf.TensorSpec((2,), tf.int64),
        ],
        epochs=config.epochs,
        steps=-(-windows // config.batch_size),
        learning_rate=config.learning_rate,
        config=config,
        work=work,
    )


def _learn(
    lesson: str,
    loss_function: Callable[..., tf.Tensor],
    batches: Callable[[np.random.Generator], Iterator[tuple[np.ndarray, ...]]],
    variables: Sequence[tf.Variable],
    *,
    signature: Sequence[tf.TensorSpec],
    epochs: int,
    steps: int,
    learning_rate: float,
    config: PretrainingConfig,
    work: Path,
) -> list[float]:
    """Trains some variables with Adam; returns the mean loss of each epoch."""
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, round((1 - _WARM_UP_SHARE) * epochs * steps)),
        warmup_target=learning_rate,
        warmup_steps=max(1, round(_WARM_UP_SHARE * epochs * steps)),
    )
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=_GRADIENT_NORM)
    optimizer.build(variables)

    @tf.function(input_signature=signature, autograph=False)
    def step(*batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_function(*batch)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    progress = Progress(work / lesson, variables, keep="last", optimizer=optimizer)
    done = len(progress.history)
    with tqdm(desc=lesson, total=epochs * steps, initial=done * steps, unit="step") as bar:
        for epoch in range(done, epochs):
            losses = []
            for batch in batches(np.random.default_rng([config.seed, epoch])):
                losses.append(float(step(*batch)))
                if not np.isfinite(losses[-1]):
                    raise InputError(
                        f"config: the loss of the {lesson} is {losses[-1]} in epoch {epoch + 1} at "
                        f"a learning rate of {learning_rate}; choose a lower one."
                    )
                bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", loss=f"{losses[-1]:.3f}")
                bar.update()
            progress.save({"loss": float(np.mean(losses))})
            tqdm.write(f"{lesson}, epoch {epoch + 1}: loss {progress.history[-1]['loss']:.3f}")
    return [epoch["loss"] for epoch in progress.history]
