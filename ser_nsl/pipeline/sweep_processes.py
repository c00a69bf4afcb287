"""Runs the trainings of a sweep in worker processes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partialmethod
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from tqdm import tqdm

from ser_nsl.errors import InputError
from ser_nsl.pipeline.choice import Choice
from ser_nsl.pipeline.sweep_config import SweepConfig
from ser_nsl.pipeline.sweep_run import Run, Setting
from ser_nsl.pipeline.train_and_score import train_and_score


def run_in_processes(
    config: SweepConfig,
    runs: Sequence[Run],
    work: Path,
    workers: int,
    threads: int,
    choices: Mapping[Setting, Choice],
) -> Iterator[tuple[Run, dict[str, Any] | BaseException]]:
    """Yields runs with their results, or why there are none, each when it is done.

    The processes end with the last one. Executors that renew theirs by themselves
    (`max_tasks_per_child`) may wait for ever when one is due, as of Python 3.11.
    """
    with _processes(workers, threads) as pool:
        waiting = {
            pool.submit(train_and_score, config, run, work, choices.get(run.setting)): run
            for run in runs
        }
        try:
            for future in as_completed(waiting):
                error = future.exception()
                known = error is not None and _is_failure(error)
                yield waiting[future], error if known and error else future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _processes(workers: int, threads: int) -> ProcessPoolExecutor:
    spawn = get_context("spawn")  # TensorFlow does not survive a fork
    return ProcessPoolExecutor(workers, spawn, _prepare_worker, (threads,))


def _prepare_worker(threads: int) -> None:
    import tensorflow as tf

    Thread(target=_end_with_parent, daemon=True).start()
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)  # one bar is enough
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _end_with_parent() -> None:
    """Ends a worker whose sweep was killed; it would wait for work, with its memory, for ever."""
    parent = parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)


def _is_failure(error: BaseException) -> bool:
    """Whether one training failed; any other error is a fault of the program."""
    import tensorflow as tf

    return isinstance(error, InputError | BrokenProcessPool | MemoryError | tf.errors.OpError)


def reason(error: BaseException) -> str:
    """Returns why a training failed, and what to do where that is known."""
    import tensorflow as tf

    if isinstance(error, BrokenProcessPool | MemoryError | tf.errors.ResourceExhaustedError):
        return "memory ran out, or its process was killed; run again with fewer --workers"
    return str(error)
