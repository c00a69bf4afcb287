"""An upstream as a function from clips to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_batches, window_starts
from ser_nsl.lazy import tf
from ser_nsl.pipeline.bars import Bar
from ser_nsl.upstream.encoder import Pooling, pool_layers

if TYPE_CHECKING:
    from ser_nsl.upstream.checkpoint import Upstream

_STEP_SAMPLES = 60 * SAMPLE_RATE_HZ  # wav2vec2-base then needs 2.1 GB in all


class Embedder:
    """An upstream as a function from clips to vectors.

    Attributes:
        window: Samples of a window.
        batch_size: Windows per step.
        width: Width of an embedding.
        name: The upstream's hash and what was taken of it, e.g. `0123456789abcdef:fc1` or
            `0123456789abcdef:layers2+3:statistics`.
        step: Function in graph mode, from float32 `(windows, window)` to `(windows, width)`.
    """

    def __init__(
        self,
        upstream: Upstream,
        window: int,
        *,
        layers: tuple[int, ...] | None = None,
        pooling: Pooling = "statistics",
        batch_size: int | None = None,
    ) -> None:
        """Makes the function, which is traced when it is first used.

        Args:
            upstream: The encoder, with its head if `layers` is None.
            window: Samples of a window.
            layers: As for `extract_embeddings`; None for FC1.
            pooling: As for `extract_embeddings`.
            batch_size: As for `extract_embeddings`.

        Raises:
            InputError: If the encoder has no such layer or no head, or the window does not fit it.
        """
        encoder = upstream.encoder
        encoder.check_window(window)
        self.window = window
        self.batch_size = batch_size or max(1, _STEP_SAMPLES // window)
        if layers is None:
            head = upstream.require_head()
            taken, embed, part = head.layers, head.embed, "fc1"
            self.width = head.width
        else:
            encoder.check_layers(layers)
            taken, embed = layers, partial(pool_layers, pooling=pooling)
            part = f"layers{'+'.join(map(str, layers))}:{pooling}"
            self.width = encoder.width * len(layers) * (1 if pooling == "mean" else 2)
        self.name = f"{upstream.fingerprint(with_head=layers is None)}:{part}"

        @tf.function(input_signature=[tf.TensorSpec((None, window))], autograph=False)
        def step(waveform: tf.Tensor) -> tf.Tensor:
            return embed(encoder.frames(waveform, taken))

        self.step = step

    def windows(self, samples: int) -> int:
        """Returns the least number of windows that cover a clip of `samples` samples."""
        return len(window_starts(samples, self.window))

    def __call__(self, waveforms: np.ndarray) -> tf.Tensor:
        """Embeds clips of one length, each as the mean over the windows that cover it.

        Args:
            waveforms: float32, shape `(clips, at least window samples)` at 16 kHz.

        Returns:
            float32, shape `(clips, width)`.
        """
        clips, samples = waveforms.shape
        starts = window_starts(samples, self.window)
        views = np.lib.stride_tricks.sliding_window_view(waveforms, self.window, axis=1)
        windows = views[:, starts].reshape(-1, self.window)
        steps = range(0, len(windows), self.batch_size)
        vectors = tf.concat([self.step(windows[i : i + self.batch_size]) for i in steps], axis=0)
        return tf.reduce_mean(tf.reshape(vectors, (clips, len(starts), self.width)), axis=1)

    def embed_files(self, paths: Sequence[Path], title: str) -> np.ndarray:
        """Embeds files, each cut or repeated to one window, with a bar.

        Args:
            paths: Audio files.
            title: Beside the bar.

        Returns:
            float32, shape `(files, width)`.

        Raises:
            InputError: If a clip cannot be read.
        """
        vectors = []
        with Bar(total=len(paths), desc=title, unit="clip") as bar:
            for waveforms in read_batches(list(paths), self.window, batch=self.batch_size):
                vectors.append(self(waveforms).numpy())
                bar.update(len(waveforms))
        return np.concatenate(vectors)
