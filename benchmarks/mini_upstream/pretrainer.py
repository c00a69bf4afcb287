"""The two parts of pre-training, which suit a CPU.

First the convolutions learn to predict log Mel frames from the waveform. Then they are frozen, so
that they run only once, and the transformer learns to predict the clusters of masked log Mel
frames, as in HuBERT (arXiv 2106.07447), while FC1 learns to predict the clip's frame statistics.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.cluster import MiniBatchKMeans
from tqdm import tqdm
from transformers.modeling_tf_utils import keras

from benchmarks.mini_upstream.settings import PretrainingConfig
from ser_nsl.audio.clip import cut_windows, read_batches, read_clips
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.errors import InputError
from ser_nsl.pipeline.progress import Progress
from ser_nsl.upstream.checkpoint import load_for_finetuning
from ser_nsl.upstream.dropout import seed_dropout
from ser_nsl.upstream.encoder import pool, random_spans
from ser_nsl.upstream.position import fix_position_convolution
from ser_nsl.upstream.wav2vec2 import frame_features, hidden_states, standardise

_FLOOR_DB = -20.0  # of standardised clips: below it there is little but noise
_MEL_BINS = 64
_MOST_CLUSTERED_FRAMES = 200_000
_GRADIENT_NORM = 1.0
_WARM_UP_SHARE = 0.1
_NO_CLASSES = ("LABEL_0", "LABEL_1")  # of a classifier that nothing trains

Batches = Callable[[np.random.Generator], Iterator[tuple[np.ndarray, ...]]]


class Pretrainer:
    """An upstream in pre-training."""

    def __init__(self, upstream: str, config: PretrainingConfig, work: Path) -> None:
        """Loads a checkpoint.

        Args:
            upstream: Hub name or folder of a checkpoint.
            config: Settings of the training.
            work: Folder for frames and saved epochs.

        Raises:
            InputError: If the checkpoint cannot be used.
        """
        keras.utils.set_random_seed(config.seed)
        self._config, self._work = config, work
        self._model, self._extractor = load_for_finetuning(upstream, _NO_CLASSES)
        if not hasattr(self._model.wav2vec2, "masked_spec_embed"):
            raise InputError(
                f"upstream: {upstream!r} has no weights for masked frames; set mask_time_prob in "
                "its config.json above 0."
            )
        fix_position_convolution(self._model.wav2vec2)
        self._samples = round(config.clip_seconds * self._extractor.sampling_rate)
        # Each log Mel frame covers the samples that the same output of the convolutions covers.
        window, hop, sizes = 1, 1, self._model.config
        for kernel, stride in zip(sizes.conv_kernel, sizes.conv_stride, strict=True):
            window, hop = window + (kernel - 1) * hop, hop * stride
        self._front_end = FrontEndConfig(window_samples=window, hop_samples=hop, mel_bins=_MEL_BINS)

    def save(self, folder: Path) -> None:
        """Writes the checkpoint."""
        self._model.save_pretrained(folder, safe_serialization=True)
        self._extractor.save_pretrained(folder)

    def train_convolutions(self, paths: Sequence[Path]) -> list[float]:
        """Trains the convolutions to predict standardised log Mel frames, by a linear layer.

        Args:
            paths: Audio files.

        Returns:
            The mean loss of each epoch.

        Raises:
            InputError: If a clip cannot be read, or the loss is not finite.
        """
        model, config = self._model, self._config
        head = keras.layers.Dense(_MEL_BINS)
        head.build((None, None, model.config.conv_dim[-1]))
        few = np.random.default_rng(config.seed).choice(len(paths), min(len(paths), 256), False)
        clips = next(read_batches([paths[i] for i in few], self._samples, batch=len(few)))
        mean, variance = tf.nn.moments(self._log_mel(clips), axes=[0, 1])

        def loss(waveform: tf.Tensor) -> tf.Tensor:
            target = (self._log_mel(waveform) - mean) * tf.math.rsqrt(variance + 1e-6)
            predicted = head(frame_features(model.wav2vec2, waveform, self._extractor))
            return tf.reduce_mean((predicted - target) ** 2)

        def batches(random: np.random.Generator) -> Iterator[tuple[np.ndarray]]:
            order = [paths[i] for i in random.permutation(len(paths))]
            for waveforms in read_batches(order, self._samples, batch=config.batch_size):
                yield (waveforms,)

        return self._train(
            "convolutions",
            loss,
            [tf.TensorSpec((None, self._samples))],
            batches,
            [*model.wav2vec2.feature_extractor.trainable_variables, *head.trainable_variables],
            epochs=config.convolution_epochs,
            steps=-(-len(paths) // config.batch_size),
            learning_rate=config.convolution_learning_rate,
        )

    def compute_frames(self, paths: Sequence[Path]) -> tuple[int, float]:
        """Computes the outputs of the convolutions, and the clusters of log Mel frames.

        Args:
            paths: Audio files.

        Returns:
            Number of windows, and seconds of audio.

        Raises:
            InputError: If a clip cannot be read, or there are more clusters than frames.
        """
        seconds = 0.0

        @tf.function(input_signature=[tf.TensorSpec((None, self._samples))], autograph=False)
        def compute(windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            frames = frame_features(self._model.wav2vec2, windows, self._extractor)
            return tf.cast(frames, tf.float16), tf.cast(self._log_mel(windows), tf.float16)

        files = self._work / "frames", self._work / "log_mel"
        with files[0].open("wb") as frame_file, files[1].open("wb") as mel_file:
            clips = read_clips(paths, ahead=8)
            for clip in tqdm(clips, "frozen convolutions", len(paths), unit="clip"):
                seconds += len(clip) / self._extractor.sampling_rate
                windows = cut_windows(clip, self._samples)
                for start in range(0, len(windows), self._config.batch_size):
                    frames, mel = compute(windows[start : start + self._config.batch_size])
                    frame_file.write(frames.numpy())
                    mel_file.write(mel.numpy())
        self._frames, log_mels = (
            np.memmap(file, np.float16, "r").reshape(-1, *values.shape[1:])
            for file, values in zip(files, (frames, mel), strict=True)
        )
        self._clusters = _cluster(log_mels, self._config)
        return len(self._frames), seconds

    def train_transformer(self) -> list[float]:
        """Trains the transformer to predict the clusters of masked frames, and FC1 statistics.

        Returns:
            The mean loss of each epoch.

        Raises:
            InputError: If the loss is not finite.
        """
        model, config = self._model, self._config
        model.freeze_feature_encoder()
        dropout_seed = seed_dropout(model)
        windows, frames, channels = self._frames.shape
        cluster_head = keras.layers.Dense(config.clusters)
        cluster_head.build((None, None, model.config.hidden_size))
        statistics_head = keras.layers.Dense(2 * channels)
        statistics_head.build((None, model.projector.units))
        few = np.random.default_rng(config.seed).choice(windows, min(windows, 1_000), replace=False)
        mean, variance = tf.nn.moments(pool(self._frames[np.sort(few)], "statistics"), axes=[0])

        def loss(features: tf.Tensor, clusters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            dropout_seed.assign(seed)
            shape = tf.shape(clusters)
            masked = random_spans(
                (shape[0], shape[1]), config.mask_share, config.mask_frames, seed=seed
            )
            features = tf.cast(features, tf.float32)
            hidden = hidden_states(model.wav2vec2, features, training=True, masked=masked)[-1]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.boolean_mask(clusters, masked), cluster_head(tf.boolean_mask(hidden, masked))
            )
            count = tf.cast(tf.size(losses), tf.float32)
            cross_entropy = tf.math.divide_no_nan(tf.reduce_sum(losses), count)
            predicted = statistics_head(tf.reduce_mean(model.projector(hidden), axis=1))
            statistics = (pool(features, "statistics") - mean) * tf.math.rsqrt(variance + 1e-6)
            return cross_entropy + tf.reduce_mean((predicted - statistics) ** 2)

        def batches(random: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
            order = random.permutation(windows)
            for start in range(0, windows, config.batch_size):
                chosen = np.sort(order[start : start + config.batch_size])
                seed = random.integers(2**62, size=2)
                yield self._frames[chosen], self._clusters[chosen].astype(np.int32), seed

        signature = [
            tf.TensorSpec((None, frames, channels), tf.float16),
            tf.TensorSpec((None, frames), tf.int32),
            tf.TensorSpec((2,), tf.int64),
        ]
        encoder = model.wav2vec2
        variables = [
            *encoder.feature_projection.trainable_variables,
            *encoder.encoder.trainable_variables,
            encoder.masked_spec_embed,
            *model.projector.trainable_variables,
            *cluster_head.trainable_variables,
            *statistics_head.trainable_variables,
        ]
        return self._train(
            "transformer",
            loss,
            signature,
            batches,
            variables,
            epochs=config.epochs,
            steps=-(-windows // config.batch_size),
            learning_rate=config.learning_rate,
        )

    def _log_mel(self, waveform: tf.Tensor) -> tf.Tensor:
        """Computes log Mel of standardised clips, float32 `(batch, frames, mels)`."""
        standardised = standardise(waveform, self._extractor)
        return tf.maximum(log_mel(standardised, self._front_end), _FLOOR_DB)

    def _train(
        self,
        part: str,
        loss_function: Callable[..., tf.Tensor],
        signature: Sequence[tf.TensorSpec],
        batches: Batches,
        variables: Sequence[tf.Variable],
        *,
        epochs: int,
        steps: int,
        learning_rate: float,
    ) -> list[float]:
        """Trains variables with Adam; returns the mean loss of each epoch."""
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

        progress = Progress(self._work / part, variables, keep="last", optimizer=optimizer)
        done = len(progress.history)
        with tqdm(desc=part, total=epochs * steps, initial=done * steps, unit="step") as bar:
            for epoch in range(done, epochs):
                losses = []
                for batch in batches(np.random.default_rng([self._config.seed, epoch])):
                    losses.append(float(step(*batch)))
                    if not np.isfinite(losses[-1]):
                        raise InputError(
                            f"config: the loss of the {part} is {losses[-1]} in epoch {epoch + 1} "
                            f"at a learning rate of {learning_rate}; choose a lower one."
                        )
                    bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", loss=f"{losses[-1]:.3f}")
                    bar.update()
                progress.save({"loss": float(np.mean(losses))})
                tqdm.write(f"{part}, epoch {epoch + 1}: loss {progress.history[-1]['loss']:.3f}")
        return [epoch["loss"] for epoch in progress.history]


def _cluster(log_mels: np.ndarray, config: PretrainingConfig) -> np.ndarray:
    """Returns the number of the cluster of each log Mel frame, int16 `(windows, frames)`."""
    frames = log_mels.reshape(-1, log_mels.shape[-1])
    random = np.random.default_rng(config.seed)
    size = min(len(frames), _MOST_CLUSTERED_FRAMES)
    if size < config.clusters:
        raise InputError(
            f"config.clusters: must be at most the number of frames, {size} in this speech; "
            f"received {config.clusters}."
        )
    sample = frames[np.sort(random.choice(len(frames), size, replace=False))].astype(np.float32)
    mean, deviation = sample.mean(axis=0), sample.std(axis=0) + 1e-3
    clusters = MiniBatchKMeans(
        config.clusters, batch_size=4_096, n_init=1, random_state=config.seed
    ).fit((sample - mean) / deviation)
    return np.stack(
        [clusters.predict((window.astype(np.float32) - mean) / deviation) for window in log_mels]
    ).astype(np.int16)
