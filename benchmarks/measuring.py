"""What measurements share: a process of their own, the machine, and where results go."""

import json
import os
import platform
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a process of its own, so that its threads and its peak memory are too."""
    # Forked processes would inherit TensorFlow's threads, which do not survive that.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def machine() -> str:
    """Returns the processor and the number of cores."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def write_results(out: Path, name: str, measured: Mapping[str, Any], text: str) -> None:
    """Writes numbers to `NAME.json` and the page about them to `NAME.md`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(measured, indent=1) + "\n")
    (out / f"{name}.md").write_text(text)
