import numpy as np
import pytest

from benchmarks.release.calibration import calibration_error


def test_known_answer_over_two_bins():
    confidence = np.array([0.55, 0.55, 0.95, 0.95, 0.95])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0, 1, 0, 0, 1])  # right: 1 of 2, and 2 of 3

    expected = (2 * abs(0.55 - 1 / 2) + 3 * abs(0.95 - 2 / 3)) / 5
    assert calibration_error(probabilities, labels) == pytest.approx(expected)


def test_probabilities_that_are_drawn_from_are_calibrated():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 20_000)
    labels = (random.random(20_000) > confidence).astype(int)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)

    assert calibration_error(probabilities, labels) < 0.01
    certain = np.tile([1.0, 0.0], (20_000, 1))
    assert calibration_error(certain, labels) == pytest.approx(0.25, abs=0.01)
