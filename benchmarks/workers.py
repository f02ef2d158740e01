"""Implementations to be measured, each in a process of its own that works only when it is asked.

So none shares memory, threads or settings with another, an idle one takes no time from the one that is measured, and
one that fails or is killed takes no other with it.
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

Say = Callable[[str], None]  # tells what is under way


class Implementation(NamedTuple):
    """A name for tables, the network, and what builds it: a module of `benchmarks.peers` with further arguments.

    The module has `REQUIRES`, the packages to be imported, and `build(shape, **arguments) -> Subject`.
    """

    name: str
    network: str
    module: str
    arguments: Mapping[str, Any] = {}


class Subject(NamedTuple):
    """What is measured of an implementation. The first three do their work `count` times and return when it is done.

    Attributes:
      train_step: forward, backward, clipping, Adam and boxes, on one batch.
      inference: from the inputs of the batch to predictions.
      epoch: training on all samples and validation; None where that is not measured.
      device: its name.
      device_peak_mib: the most memory held on an accelerator so far; None on a CPU.
      compiler_mib: temporary memory of the compiled training step, by the compiler's account; None without compiler.
    """

    train_step: Callable[[int], object]
    inference: Callable[[int], object]
    epoch: Callable[[int], object] | None
    device: str
    device_peak_mib: Callable[[], float | None]
    compiler_mib: float | None


class Built(NamedTuple):
    """What a worker tells once it is ready for its first training step."""

    seconds: float
    device: str
    compiler_mib: float | None
    has_epoch: bool
    versions: dict[str, str]


class Memory(NamedTuple):
    """Memory of the process beyond what it held before its first training step, and that of the accelerator."""

    growth_mib: float
    device_peak_mib: float | None


class Session:
    """What a worker can be asked for, in its own process."""

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
        versions = {package: importlib.metadata.version(package) for package in module.REQUIRES}
        # What building and compiling took, and gave back, is not to hide what training takes.
        machine.forget_peak()
        self._resident_mib = machine.resident_mib()
        return Built(seconds, subject.device, subject.compiler_mib, subject.epoch is not None, versions)

    def sample(self, quantity: str, count: int) -> float:
        """The seconds that one training step (or inference, or epoch) takes, as the mean of `count`."""
        run = getattr(self._subject, quantity)
        start = time.perf_counter()
        run(count)
        return (time.perf_counter() - start) / count

    def memory(self) -> Memory:
        assert self._subject is not None, "build first"
        return Memory(machine.peak_mib() - self._resident_mib, self._subject.device_peak_mib())


class WorkerError(RuntimeError):
    """An implementation that cannot be measured (further): the first line of what went wrong."""


class Worker:
    """A `Session` in a process of its own."""

    def __init__(self, implementation: Implementation, shape: Any):
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(other_end, implementation, shape), daemon=True)
        self._process.start()
        other_end.close()  # so that the end of the process is the end of the pipe

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the session and waits for its answer.

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
    """Workers that are ready, what they told, and why others are not; each by the implementation's name."""

    workers: dict[str, Worker]
    built: dict[str, Built]
    failed: dict[str, str]


@contextlib.contextmanager
def started(implementations: Sequence[Implementation], shape: Any, say: Say) -> Iterator[Started]:
    """Starts and builds the implementations one after the other; all are stopped in the end."""
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which then stops its workers
    warnings.simplefilter("ignore")  # of other people's libraries
    # Several processes share an accelerator; none is to take most of its memory in advance.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    session = Session(implementation, shape)
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, getattr(session, method)(*arguments)))
        except Exception as error:  # whatever another library raises
            first_line, *_ = [*str(error).strip().splitlines(), ""]
            pipe.send((False, f"{type(error).__name__}: {first_line}"))
