"""Augmentation of clips in training: shifts and masks, on log Mel."""

from collections.abc import Iterator
from itertools import count

import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.errors import InputError
from ser_nsl.training.settings import AugmentationConfig


def check_lengths(config: AugmentationConfig, description: Description) -> None:
    """Checks that shifts and masks fit into clips.

    Args:
        config: Augmentation.
        description: Description of the features.

    Raises:
        InputError: If one is larger than a clip.
    """
    frames, bands = description.logmel_shape
    for name, most in (
        ("time_shift_frames", frames - 1),
        ("time_mask_frames", frames if config.time_masks else None),
        ("band_mask_width", bands if config.band_masks else None),
    ):
        value = getattr(config, name)
        if most is not None and value > most:
            raise InputError(
                f"training.augmentation.{name}: must be at most {most}, since clips have {frames} "
                f"frames of {bands} bands; received {value}."
            )


def augmented(
    batches: tf.data.Dataset,
    description: Description,
    config: AugmentationConfig,
    *,
    seed: int,
    first_epoch: int,
) -> tf.data.Dataset:
    """Augments clips, but not their neighbours; every iteration is the next epoch.

    The augmentation of a clip follows from the seed, the epoch, and the clip's place in it.

    Args:
        batches: Batches of an epoch: elements `(inputs, label, weight)`; inputs hold `logmel`.
        description: Description of the features.
        config: Augmentation.
        seed: Seed, 0 or more.
        first_epoch: Number of the first epoch, from 0.

    Returns:
        The batches with augmented `logmel`; the same batches if there is no augmentation.
    """
    if config == AugmentationConfig():
        return batches
    epochs = count(first_epoch)

    def steps() -> Iterator[tuple[tuple[int, int], int]]:
        epoch = next(epochs)
        return (((seed, epoch), step) for step in count())

    def alter(batch: tuple, drawn: tuple[tf.Tensor, tf.Tensor]) -> tuple:
        inputs, label, weight = batch
        of_epoch, step = drawn
        of_step = tf.random.experimental.stateless_fold_in(of_epoch, step)
        logmel = augment(inputs["logmel"], of_step, config, description)
        return inputs | {"logmel": logmel}, label, weight

    numbers = tf.TensorSpec((2,), tf.int64), tf.TensorSpec((), tf.int64)
    drawn = tf.data.Dataset.from_generator(steps, output_signature=numbers)
    numbered = tf.data.Dataset.zip((batches, drawn))
    return numbered.map(alter, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def augment(
    logmel: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig, description: Description
) -> tf.Tensor:
    """Augments each clip of a batch differently: shift, then masks.

    Args:
        logmel: Clips, float32, shape `(batch, frames, mels)`, in dB.
        seed: Seed of all random numbers, int64, shape `(2,)`.
        config: Augmentation.
        description: Description of the features; masked values become the mean of their band.

    Returns:
        The augmented clips, of the same shape.
    """
    numbers = 0, 2, 3  # 1 was that of a noise, and the others draw as they did
    seeds = [tf.random.experimental.stateless_fold_in(seed, number) for number in numbers]
    if config.time_shift_frames:
        logmel = _shifted(logmel, seeds[0], config.time_shift_frames)
    clips, frames, bands = (tf.shape(logmel)[axis] for axis in range(3))
    masked = tf.zeros((clips, 1, 1), bool)
    if config.time_masks:
        shape = clips, config.time_masks, frames
        masked |= _stretches(shape, seeds[1], config.time_mask_frames)[:, :, tf.newaxis]
    if config.band_masks:
        shape = clips, config.band_masks, bands
        masked |= _stretches(shape, seeds[2], config.band_mask_width)[:, tf.newaxis, :]
    return tf.where(masked, tf.constant(description.mean, tf.float32), logmel)


def _shifted(logmel: tf.Tensor, seed: tf.Tensor, most: int) -> tf.Tensor:
    clips, frames = tf.shape(logmel)[0], tf.shape(logmel)[1]
    shifts = tf.random.stateless_uniform((clips, 1), seed, -most, most + 1, tf.int32)
    return tf.gather(logmel, (tf.range(frames) - shifts) % frames, batch_dims=1)


def _stretches(shape: tuple, seed: tf.Tensor, longest: int) -> tf.Tensor:
    """Draws random stretches of 0 to `longest` places.

    Args:
        shape: Number of clips, stretches per clip, places.
        seed: Seed.
        longest: Length of the longest stretch, at most all places.

    Returns:
        bool, shape `(clips, places)`: whether a place is in a stretch.
    """
    clips, count, length = shape
    width_seed, start_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    widths = tf.random.stateless_uniform((clips, count, 1), width_seed, 0, longest + 1, tf.int32)
    room = tf.cast(length - widths + 1, tf.float32)
    starts = tf.cast(tf.random.stateless_uniform((clips, count, 1), start_seed) * room, tf.int32)
    places = tf.range(length)
    return tf.reduce_any((places >= starts) & (places < starts + widths), axis=1)
