"""Progress of long work: a bar on a terminal, a line a minute in a file."""

import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

_SECONDS = 60.0  # between two lines of a file


class Bar(tqdm):
    r"""The bar of tqdm; where it cannot move, as in a log, a line a minute, and one at the end.

    Example:
        >>> from io import StringIO
        >>> log = StringIO()
        >>> for _ in Bar(range(3), desc="packing", unit="clip", file=log):
        ...     pass
        >>> log.getvalue()
        'packing: 100%|...| 3/3 [...clip/s]\n'
    """

    last_print_t: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Starts the bar.

        Args:
            *args: Arguments of `tqdm`.
            **kwargs: Arguments of `tqdm`.
        """
        self._moves = _can_move(kwargs.get("file") or sys.stderr)
        if not self._moves:
            kwargs |= {"mininterval": _SECONDS, "delay": _SECONDS, "miniters": 1}
        super().__init__(*args, **kwargs)

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """Returns what writes the state of the bar."""
        if _can_move(file):
            return tqdm.status_printer(file)

        def write(text: str) -> None:
            file.write(f"{text}\n")
            file.flush()

        return write

    def refresh(self, *args: Any, **kwargs: Any) -> bool | None:
        """Shows the state now; in a file only if a minute has passed."""
        if not self._moves:
            now = self._time()
            if now - self.last_print_t < _SECONDS:
                return None
            self.last_print_t = now
        return super().refresh(*args, **kwargs)

    def clear(self, *args: Any, **kwargs: Any) -> None:
        """Makes room for other text, where the bar moves."""
        if self._moves:
            super().clear(*args, **kwargs)

    def close(self) -> None:
        """Ends the bar, and leaves its last state."""
        if not (self._moves or self.disable):
            self.display()
            self.sp = None  # tqdm would show it again, and leave an empty line
        super().close()


def _can_move(file: Any) -> bool:
    """Whether a line can be written over: on terminals and in notebooks."""
    return file.isatty() or type(file).__module__.startswith("ipykernel")
