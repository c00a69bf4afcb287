"""Stages in a row: each runs unless its result is up to date."""

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
        """Where the stage writes."""
        return self.arguments["out"]

    def depends_on(self, outs: set[Path]) -> bool:
        """Whether one of the stage's inputs is among these paths."""
        return any(Path(value) in outs for value in self._inputs())

    def is_current(self) -> bool:
        """Whether the stage has run with these settings and inputs, which must exist for that."""
        if any(isinstance(path, Path) and not path.exists() for path in self._inputs()):
            return False
        return stage.is_current(self.function, self.arguments)

    def _inputs(self) -> Iterator[Path | str]:
        for name in self.function.inputs:
            value = self.arguments.get(name)
            if isinstance(value, tuple):
                yield from value
            elif value is not None:
                yield value


def pending(steps: Sequence[Step]) -> list[bool]:
    """Which steps are not up to date, or wait for one before them that is not.

    Args:
        steps: In the order in which they can run.

    Returns:
        For each step whether it would run.
    """
    remade: set[Path] = set()
    waits = []
    for step in steps:
        waits.append(step.depends_on(remade) or not step.is_current())
        if waits[-1]:
            remade.add(step.out)
    return waits


def run_steps(steps: Sequence[Step]) -> None:
    """Runs the steps that are not up to date, and says so.

    Args:
        steps: In the order in which they can run.

    Raises:
        InputError: As the stages.
    """
    for number, (step, waits) in enumerate(zip(steps, pending(steps), strict=True), start=1):
        title = f"[{number}/{len(steps)}] {step.function.__name__} -> {step.out}"
        if waits:
            print(title, flush=True)
            print(f"    {step.function(**step.arguments).summary}", flush=True)
        else:
            print(f"{title}: up to date")
