import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import machine, rounds, scaling
from benchmarks.peers import OURS, PLAIN, authors
from benchmarks.report import Report, align
from benchmarks.rounds import Measurement, measure, summary
from benchmarks.shapes import SHAPES, random_samples
from benchmarks.training import measure_all
from benchmarks.workers import Built, Implementation, Session, Worker, WorkerError, started
from tests.helpers import ROOT


def silent(text):
    pass


class FakeWorker:
    """Give prepared answers, the last one repeatedly; record every request in a shared diary."""

    def __init__(self, name, diary, *answers):
        self.name, self.diary, self.answers = name, diary, list(answers)

    def ask(self, method, quantity, count):
        assert method == "sample"
        self.diary.append((self.name, count))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def tiny_shape():
    base = SHAPES["shd_small"]
    config = base.config.copy_and_resolve_references().unlock()
    config.batch_size, config.model.hidden = 4, (5,)
    return base._replace(config=config.lock(), steps=12, channels=3, train=9, validation=5)


def test_workers_are_asked_in_turn_and_the_first_run_does_not_count():
    diary = []
    workers = {name: FakeWorker(name, diary, 9.0, 0.6, 0.5) for name in "ab"}
    result = measure(workers, "train_step", 3, silent)
    # 0.6 s a run: two runs fill a sample.
    assert diary == [("a", 1), ("a", 1), ("b", 1), ("b", 1), *[("a", 2), ("b", 2)] * 3]
    assert result == Measurement({"a": 9.0, "b": 9.0}, {"a": [0.5] * 3, "b": [0.5] * 3}, {})


def test_long_work_is_sampled_once_and_short_work_is_repeated():
    diary = []
    workers = {"slow": FakeWorker("slow", diary, 31.0, 30.0), "fast": FakeWorker("fast", diary, 1e-9)}
    result = measure(workers, "train_step", 2, silent)
    assert result.samples == {"slow": [30.0], "fast": [1e-9, 1e-9]}
    assert result.notes == {"slow": "train_step: takes more than 20 s, sampled only once"}
    assert diary.count(("slow", 1)) == 2
    assert diary[-1] == ("fast", rounds.MAX_REPEATS)


@pytest.mark.parametrize("answers", [(WorkerError("no memory"),), (1.0, 1.0, 1.0, WorkerError("no memory"))])
def test_a_worker_that_fails_has_a_note_and_the_others_continue(answers):
    diary = []
    workers = {"a": FakeWorker("a", diary, *answers), "b": FakeWorker("b", diary, 1.0)}
    result = measure(workers, "inference", 3, silent)
    assert result.samples == {"b": [1.0] * 3}
    assert result.notes == {"a": "inference: no memory"}


def test_the_ratio_is_taken_within_the_rounds():
    # The machine was busy in the second round: the ratio of the medians would be 4.
    result = summary([2.0, 40.0, 4.0], [1.0, 10.0, 1.0])
    assert (result["median"], result["min"], result["max"], result["to_ours"]) == (4.0, 2.0, 40.0, 4.0)
    assert summary([2.0, 40.0, 4.0], [1.0, 20.0, 4.0])["to_ours"] == 2.0
    assert summary([30.0], [1.0, 2.0, 3.0])["to_ours"] == 15.0
    assert summary([30.0], None)["to_ours"] is None


def test_an_epoch_that_was_not_run_is_derived(tiny_shape):
    report = Report(tiny_shape)  # 9 samples are two batches of 4 to train on; 5 are two to validate on
    report.add_built(OURS, Built(1.0, "cpu", 2.5, False, {}))
    report.add_measured("train_step", Measurement({"ours": 0.5}, {"ours": [3.0]}, {}))
    report.add_measured("inference", Measurement({"ours": 0.5}, {"ours": [1.0]}, {"ours": "a note"}))
    report.derive_epochs()
    (row,) = report.as_dict()["rows"]
    assert row["epoch"] == {"median": 8.0, "measured": False}
    header, line, _, note = str(report).splitlines()
    assert re.split(r"  +", line) == (
        ["ours", "SE-adLIF", "3000 (3000-3000)", "1.00", "1000 (1000-1000)", "1.00", "~8", "1.5", "-", "2"]
    )
    assert len(re.split(r"  +", header)) == 10
    assert note == "ours: a note"


def test_a_row_without_measurements_is_a_line_of_dashes(tiny_shape):
    report = Report(tiny_shape)
    report.add_built(OURS, Built(1.0, "cpu", None, False, {}))
    report.derive_epochs()
    assert re.split(r"  +", str(report).splitlines()[1]) == ["ours", "SE-adLIF", *["-"] * 8]


def test_tables_are_aligned():
    assert align([("a", "bb", "1"), ("aaa", "b", "100")]) == "a    bb    1\naaa  b   100"


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_those_of_the_tasks(name):
    shape = SHAPES[name]._replace(steps=20)
    samples = random_samples(shape, 3)
    assert samples.inputs.shape == (3, 20, shape.channels)
    assert samples.inputs.dtype == np.uint8
    assert samples.block_index.shape == (3, 20)
    if name == "ecg":
        assert samples.targets.shape == (3, 21)
        assert (samples.block_index == np.arange(1, 21)).all()
    else:
        assert samples.targets.shape == (3, 2)
        assert samples.block_index.max() == (name != "bsd")  # BSD's answer comes after 160 steps
    assert (samples.targets[:, 0] == -1).all()
    assert shape.num_classes > samples.targets.max()


@pytest.mark.slow
def test_ours_is_measured_from_end_to_end(tiny_shape, monkeypatch):
    monkeypatch.setattr(rounds, "SAMPLE_SECONDS", 0.0)

    class InThisProcess(Session):
        def ask(self, method, *arguments):
            return getattr(self, method)(*arguments)

    workers = {each.name: InThisProcess(each, tiny_shape) for each in (OURS, PLAIN)}
    built = {name: worker.build() for name, worker in workers.items()}
    report = Report(tiny_shape)
    for each in (OURS, PLAIN):
        report.add_built(each, built[each.name])
    measure_all(workers, built, 2, report, silent)
    result = json.loads(json.dumps(report.as_dict()))
    assert result["notes"] == []
    assert [row["implementation"] for row in result["rows"]] == ["ours", "plain scan"]
    for row in result["rows"]:
        for quantity in ("train_step", "inference", "epoch"):
            assert len(row[quantity]["samples"]) == 2
            assert 0 < row[quantity]["min"] <= row[quantity]["max"]
        assert row["epoch"]["measured"]
        assert row["growth_mib"] >= 0
        assert row["compiler_mib"] > 0


def test_a_failed_build_is_reported_in_one_line():
    absent = Implementation("absent", "LIF", "absent")
    with started([absent], None, silent) as (workers, built, failed):
        assert (workers, built) == ({}, {})
        assert failed == {"absent": "ModuleNotFoundError: No module named 'benchmarks.peers.absent'"}


def test_a_worker_whose_process_is_gone_says_so():
    worker = Worker(authors("nowhere"), None)
    worker._process.kill()
    with pytest.raises(WorkerError, match="exit code -9"):
        worker.ask("build")
    worker.close()


def test_memory_is_that_of_this_process():
    machine.forget_peak()
    before = machine.peak_mib()
    array = np.ones(2**23)  # 64 MiB
    assert machine.peak_mib() - before > 50
    assert machine.peak_mib() >= machine.resident_mib() > array.nbytes / 2**20


def test_the_picture_of_the_scaling(tmp_path):
    def point(**size):
        times = {"ours": [0.001 * size["neurons"]], "plain scan": [0.002 * size["neurons"]]}
        return {**size, "train_step": {name: summary(samples, None) for name, samples in times.items()}}

    curves = {
        name: [point(**{**scaling.CENTRE, name: size}) for size in sizes] for name, sizes in scaling.RANGES.items()
    }
    curves["steps"][0]["train_step"] = {}  # both failed
    scaling.save_picture(curves, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_the_scaling_changes_one_size_at_a_time():
    shape = scaling.shape_of(neurons=64, steps=500, batch=16)
    assert (shape.hidden, shape.steps, shape.batch_size) == ((64,), 500, 16)
    assert SHAPES["shd_small"].hidden == (128,)
    assert all(scaling.CENTRE[name] in sizes for name, sizes in scaling.RANGES.items())


def test_results_are_added_to_the_table_of_accuracies_once(finished_run, tmp_path):
    table = tmp_path / "accuracy.csv"
    table.write_text("task,variant,seed,test_accuracy,validation_accuracy,best_epoch,wall_seconds,protocol,device,python,"
                     "jax,finished\necg,one_layer,0,0.9,0.8,7,60,old,cpu,3.11,0.8,yesterday\n")  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.accuracy", "--config=bsd:tiny", f"--table={table}", str(finished_run)]
    for _ in range(2):
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    old, new = csv.DictReader(table.read_text().splitlines())
    assert (old["task"], old["finished"], old["commit"]) == ("ecg", "yesterday", "")
    result = json.loads((finished_run / "result.json").read_text())
    assert (new["task"], new["variant"], new["seed"]) == ("bsd", "tiny", "0")
    assert float(new["test_accuracy"]) == pytest.approx(result["test"]["accuracy"], abs=1e-5)
    assert (new["protocol"], new["finished"]) == (result["protocol"], result["finished"])
    assert new["commit"]
