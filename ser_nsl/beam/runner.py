"""Running a pipeline: Beam's options, errors and counters."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners import create_runner
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
    ExtendedProvisionInfo,
    FnApiRunner,
)
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.runners.runner import PipelineRunner, PipelineState

from ser_nsl.beam.dead_letters import NAMESPACE
from ser_nsl.errors import InputError

LOCAL_RUNNER = "FnApiRunner"
LOCAL_OPTIONS = (
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
    "--default_sdk_harness_log_level=ERROR",
)
"""Options of the local runner: two worker processes that log only errors."""

_INPUT_ERROR = re.compile(r"InputError: (.*?)(?: \[while running|$)", re.MULTILINE)
_BAD_FILE = "Not a valid TFRecord"


@dataclass(frozen=True)
class Job:
    """Where a pipeline runs, for which clips, and what it writes.

    Attributes:
        out: Folder of the results, on any file system.
        splits: Splits whose clips become nodes of the graph.
        shards: Files per output; 0 leaves it to the runner.
        runner: Name of a Beam runner.
        options: Options of Beam; for the local runner they override `LOCAL_OPTIONS`.
    """

    out: str
    splits: Sequence[str]
    shards: int
    runner: str
    options: Sequence[str]

    def path(self, *names: str) -> str:
        """Path of a result."""
        return FileSystems.join(self.out, *names)


def run_beam(job: Job, construct: Callable[[beam.Pipeline], None]) -> dict[str, int]:
    """Makes a pipeline, runs it and waits for its end.

    Args:
        job: Its runner and options.
        construct: Function that adds the steps.

    Returns:
        Every counter of `ser_nsl.beam.dead_letters.count`.

    Raises:
        InputError: If a step raised one, or a file of records is cut off or damaged.
        RuntimeError: If the pipeline failed or was cancelled.
    """
    defaults = LOCAL_OPTIONS if job.runner == LOCAL_RUNNER else ()
    options = PipelineOptions([f"--runner={job.runner}", *defaults, *job.options])
    pipeline = beam.Pipeline(_make_runner(job.runner, options), options=options)
    construct(pipeline)
    try:
        result = pipeline.run()
        state = result.wait_until_finish()
    except Exception as error:  # of a type that depends on the runner
        _raise_input_error(error)
        raise
    if state != PipelineState.DONE:
        raise RuntimeError(f"the pipeline ended as {state}; see the log of its runner")
    counted: Counter[str] = Counter()
    for metric in result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]:
        counted[metric.key.metric.name] += metric.result  # several steps may share a name
    return dict(counted)


def _make_runner(name: str, options: PipelineOptions) -> PipelineRunner:
    """Makes a runner; the local one would not pass the options on to its worker processes."""
    if name != LOCAL_RUNNER:
        return create_runner(name)
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return FnApiRunner(provision_info=ExtendedProvisionInfo(info))


def _raise_input_error(error: Exception) -> None:
    """Raises an `InputError` if the error of a worker, which comes as text, was one."""
    found = _INPUT_ERROR.search(f"{type(error).__name__}: {error}")
    if found:
        raise InputError(found.group(1)) from error
    if _BAD_FILE in str(error):
        step = str(error).rpartition("while running ")[2].strip(" ]'\"\n")
        raise InputError(
            f"a file of records is cut off or damaged, as the step {step!r} found; make the "
            "records again."
        ) from error
