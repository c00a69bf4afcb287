import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.encoder import pool, pool_layers, random_spans

SEED = np.array([0, 0])

# Two clips of two frames of width 2.
FRAMES = tf.constant([[[1.0, 10.0], [5.0, 10.0]], [[0.0, -1.0], [-2.0, 3.0]]])


def test_pooling_by_hand():
    np.testing.assert_allclose(pool(FRAMES, "mean"), [[3, 10], [-1, 1]])
    np.testing.assert_allclose(pool(FRAMES, "statistics"), [[3, 10, 2, 0], [-1, 1, 1, 2]])


def test_layers_stand_side_by_side_in_the_order_given():
    found = pool_layers([FRAMES + 100, FRAMES], "statistics")

    np.testing.assert_allclose(found[0], [103, 110, 2, 0, 3, 10, 2, 0], rtol=1e-6)


def test_layers_that_do_not_exist_are_refused(small_upstream):
    encoder = load_upstream(str(small_upstream)).encoder
    for layers in ((2,), (-1,), (0, 2), (), (1, 1)):
        with pytest.raises(InputError, match=r"layers: .* 0 to 1,.* received \("):
            encoder.check_layers(layers)
    encoder.check_layers((1, 0))


def runs(row: np.ndarray) -> list[int]:
    """Lengths of the stretches of True."""
    return [len(run) for run in "".join("x" if on else " " for on in row).split()]


def test_spans_cover_their_share_in_stretches():
    spans = random_spans((tf.constant(200), tf.constant(500)), 0.2, 10, seed=SEED)

    assert spans.dtype == tf.bool
    assert spans.shape == (200, 500)
    spans = spans.numpy()
    # Of n columns each begins a span with probability share / length: 1 - (1 - 0.02)^10.
    assert spans[:, 10:].mean() == pytest.approx(1 - 0.98**10, abs=0.01)
    # Runs are spans or several that overlap; only the end cuts one short.
    assert min(length for row in spans[:, :-9] for length in runs(np.append(row, True))[:-1]) == 10
    assert len({row.tobytes() for row in spans}) == 200


@pytest.mark.parametrize("length", [1, 3])
def test_share_of_one_can_cover_all(length):
    assert random_spans((4, 7), float(length), length, seed=SEED).numpy().all()
    assert not random_spans((4, 7), 0.0, length, seed=SEED).numpy().any()


def test_spans_come_from_the_seed():
    def draw(seed: int) -> bytes:
        return random_spans((3, 100), 0.3, 5, seed=np.array([seed, 0])).numpy().tobytes()

    assert draw(1) == draw(1) != draw(2)


def test_frames_that_are_all_alike_have_a_gradient():
    frames = tf.ones((1, 5, 2))
    with tf.GradientTape() as tape:
        tape.watch(frames)
        pooled = pool(frames, "statistics")

    np.testing.assert_allclose(pooled, [[1, 1, 0, 0]], atol=1e-5)
    assert np.isfinite(tape.gradient(pooled, frames)).all()
