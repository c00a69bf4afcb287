"""Stages with their arguments, in a row: each runs unless its result is up to date."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_nsl.pipeline import stage


@dataclass(frozen=True)
class Step:
    """A stage with its arguments.

    Attributes:
        function: The stage.
        arguments: Its keyword arguments.
    """

    function: stage.Stage
    arguments: Mapping[str, Any]

    @property
    def out(self) -> Path:
        """Path of the stage's output."""
        return self.arguments["out"]

    def run(self) -> stage.StageResult:
        """Runs the stage, up to date or not."""
        return self.function(**self.arguments)

    def depends_on(self, outs: set[Path]) -> bool:
        """Returns whether one of the stage's inputs is among these paths."""
        return any(Path(value) in outs for value in self.inputs())

    def is_current(self) -> bool:
        """Returns whether all inputs exist, and the stage has run with them and these settings."""
        if any(isinstance(path, Path) and not path.exists() for path in self.inputs()):
            return False
        return stage.is_current(self.function, self.arguments)

    def inputs(self) -> Iterator[Path | str]:
        """Yields the stage's inputs: paths, or names of something elsewhere."""
        for name in self.function.inputs:
            value = self.arguments.get(name)
            if isinstance(value, tuple):
                yield from value
            elif value is not None:
                yield value


def pending(steps: Sequence[Step]) -> list[bool]:
    """Returns for each step whether it would run.

    Args:
        steps: Steps in the order in which they can run.

    Returns:
        True for a step that is not up to date, or depends on one before it that is not.
    """
    remade: set[Path] = set()
    waits = []
    for step in steps:
        waits.append(step.depends_on(remade) or not step.is_current())
        if waits[-1]:
            remade.add(step.out)
    return waits


def run_steps(steps: Sequence[Step]) -> None:
    """Runs the steps that are not up to date, and prints what is done.

    Args:
        steps: Steps in the order in which they can run.

    Raises:
        InputError: As the stages.
    """
    for number, (step, waits) in enumerate(zip(steps, pending(steps), strict=True), start=1):
        title = f"[{number}/{len(steps)}] {step.function.__name__} -> {step.out}"
        if waits:
            print(title, flush=True)
            print(f"    {step.run().summary}", flush=True)
        else:
            print(f"{title}: up to date")
