"""What validation speakers choose: the trial and the number of epochs of each setting."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ser_nsl.pipeline.results import Results
from ser_nsl.pipeline.sweep_run import Run, Setting


@dataclass(frozen=True)
class Choice:
    """What validation speakers chose for a setting.

    Attributes:
        trial: Name of the trial.
        epochs: Number of epochs.
        val_uar: UAR of the validation speakers then, mean over folds and seeds of the trials.
        steps: Updates an epoch, mean over folds.
        curves: The same UAR after each epoch, of every trial.
    """

    trial: str
    epochs: int
    val_uar: float
    steps: float
    curves: dict[str, list[float]] = field(default_factory=dict)

    @property
    def updates(self) -> int:
        """Number of updates."""
        return round(self.epochs * self.steps)


def choose(results: Results, planned: Iterable[Run]) -> dict[Setting, Choice]:
    """Chooses trial and number of epochs of each setting, by validation speakers alone.

    Args:
        results: Results by run.
        planned: Runs of the sweep, of which trials choose.

    Returns:
        Choices of the settings of which all trials are done: the highest mean over folds and seeds
        of the validation UAR after an epoch. Of equal ones the earliest trial, then epoch.

    Example:
        >>> trials = [Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, trial=trial)
        ...     for trial in ("plain", "shifts")]
        >>> curves = ([0.4, 0.5, 0.3], [0.4, 0.6, 0.6])
        >>> results = {run: {"curve": curve, "steps": 10}
        ...     for run, curve in zip(trials, curves, strict=True)}
        >>> (choice,) = choose(results, trials).values()
        >>> choice.trial, choice.epochs, choice.updates
        ('shifts', 2, 20)
    """
    groups: dict[Setting, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in dict.fromkeys(planned):
        if not run.test:
            groups[run.setting][run.trial].append(run)
    choices = {}
    for setting, trials in groups.items():
        runs = [run for own in trials.values() for run in own]
        if not all(run in results for run in runs):
            continue
        curves = {
            trial: np.mean([results[run]["curve"] for run in own], axis=0)
            for trial, own in trials.items()
        }
        best = max(curves, key=lambda trial: curves[trial].max())  # the first of equals
        epochs = int(curves[best].argmax()) + 1
        choices[setting] = Choice(
            best,
            epochs,
            float(curves[best][epochs - 1]),
            float(np.mean([results[run]["steps"] for run in runs])),
            {trial: curve.tolist() for trial, curve in curves.items()},
        )
    return choices
