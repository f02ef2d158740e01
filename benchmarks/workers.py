"""The measured implementations, each in a separate process that works only on request.

They therefore share no memory, threads or settings; idle ones take no time from the measured one; and one that fails
does not affect the others.
"""

import contextlib
import importlib
import importlib.metadata
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from benchmarks import machine

Say = Callable[[str], None]  # reports progress


class Implementation(NamedTuple):
    """Name in tables, network, and the module of `benchmarks.peers` that builds it, with its arguments.

    The module has `REQUIRES`, the packages to import, and `build(shape, **arguments) -> Subject`.
    """

    name: str
    network: str
    module: str
    arguments: Mapping[str, Any] = {}


class Subject(NamedTuple):
    """The measured functions of an implementation. The first three run `count` times and return when finished.

    Attributes:
      train_step: forward, backward, clipping, Adam and projection, on one batch.
      inference: from the inputs of the batch to predictions.
      epoch: training on all samples, and validation; None if not measured.
      device: name of the device.
      device_peak_mib: peak memory of an accelerator; None on a CPU.
      compiler_mib: temporary memory of the compiled training step, reported by the compiler; None without compiler.
    """

    train_step: Callable[[int], object]
    inference: Callable[[int], object]
    epoch: Callable[[int], object] | None
    device: str
    device_peak_mib: Callable[[], float | None]
    compiler_mib: float | None


class Built(NamedTuple):
    """Report of a worker that is ready for its first training step."""

    seconds: float
    device: str
    compiler_mib: float | None
    has_epoch: bool
    versions: dict[str, str]


class Memory(NamedTuple):
    """Growth of the process since before its first training step, and peak memory of the accelerator."""

    growth_mib: float
    device_peak_mib: float | None


class Session:
    """The requests that a worker answers, in its process."""

    def __init__(self, implementation: Implementation, shape: Any):
        self._implementation = implementation
        self._shape = shape
        self._subject: Subject | None = None
        self._resident_mib = 0.0

    def build(self) -> Built:
        module = importlib.import_module(f"benchmarks.peers.{self._implementation.module}")
        for package in module.REQUIRES:
            importlib.import_module(package)
        start = time.perf_counter()
        self._subject = subject = module.build(self._shape, **self._implementation.arguments)
        seconds = time.perf_counter() - start
        names = importlib.metadata.packages_distributions()  # sparx is of `sparxml`
        versions = {package: importlib.metadata.version(names[package][0]) for package in module.REQUIRES}
        # Memory that was used and released while building must not hide the growth in training.
        machine.forget_peak()
        self._resident_mib = machine.resident_mib()
        return Built(seconds, subject.device, subject.compiler_mib, subject.epoch is not None, versions)

    def sample(self, quantity: str, count: int) -> float:
        """Return the mean seconds of a training step (or inference, or epoch) over `count`."""
        run = getattr(self._subject, quantity)
        start = time.perf_counter()
        run(count)
        return (time.perf_counter() - start) / count

    def memory(self) -> Memory:
        assert self._subject is not None, "build first"
        return Memory(machine.peak_mib() - self._resident_mib, self._subject.device_peak_mib())


class WorkerError(RuntimeError):
    """An implementation cannot be measured (any further); the message is the first line of its error."""


class Worker:
    """A `Session` in a separate process."""

    def __init__(self, implementation: Implementation, shape: Any):
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(other_end, implementation, shape), daemon=True)
        self._process.start()
        other_end.close()  # the pipe then ends with the process

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the session and return its answer.

        Raises:
          WorkerError: it raised an exception, or its process is gone.
        """
        try:
            self._pipe.send((method, arguments))
            succeeded, answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise WorkerError(f"its process ended with exit code {self._process.exitcode}") from None
        if not succeeded:
            raise WorkerError(answer)
        return answer

    def close(self) -> None:
        self._process.terminate()
        self._process.join()
        self._pipe.close()


class Started(NamedTuple):
    """Workers that are ready, their reports, and the errors of the others; each by the implementation's name."""

    workers: dict[str, Worker]
    built: dict[str, Built]
    failed: dict[str, str]


@contextlib.contextmanager
def started(implementations: Sequence[Implementation], shape: Any, say: Say) -> Iterator[Started]:
    """Start and build the implementations one after the other; stop all at the end."""
    result = Started({}, {}, {})
    with contextlib.ExitStack() as stack:
        for implementation in implementations:
            say(f"building {implementation.name}")
            worker = Worker(implementation, shape)
            stack.callback(worker.close)
            try:
                result.built[implementation.name] = worker.ask("build")
                result.workers[implementation.name] = worker
            except WorkerError as error:
                result.failed[implementation.name] = str(error)
        yield result


def _serve(pipe: Connection, implementation: Implementation, shape: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command handles Ctrl-C, and stops its workers
    warnings.simplefilter("ignore")  # of other libraries
    # Several processes share an accelerator: do not preallocate its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    session = Session(implementation, shape)
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, getattr(session, method)(*arguments)))
        except Exception as error:  # another library may raise anything
            first_line, *_ = [*str(error).strip().splitlines(), ""]
            pipe.send((False, f"{type(error).__name__}: {first_line}"))
