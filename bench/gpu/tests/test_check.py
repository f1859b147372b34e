"""`python3 -m unittest discover -s gpu/tests -t .` in bench/."""

import array
import json
import os
import struct
import sys
import tempfile
import time
import unittest
from pathlib import Path

from gpu import checks, commands, weights
from gpu.checks import FAILED, OK, TIMEOUT, Bench, Check, Outcome
from gpu.parts import PARTS, overlap, parity, throughput
from gpu.place import Site


def site(work: Path, cpu: bool = False) -> Site:
    """A site without programs."""
    return Site(work, work / "dtrain", "mpirun", work, None, None, work, cpu, [{"name": "GPU", "memory_bytes": 1 << 34}])


class Commands(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_shell(self, script: str, timeout_secs: float = 30.0) -> commands.Ended:
        return commands.run(["/bin/sh", "-c", script], dict(os.environ), timeout_secs, self.folder)

    def assert_ends(self, pid: int) -> None:
        """A killed process needs a moment to end."""
        for _ in range(200):
            if commands.is_zombie(pid):
                return
            time.sleep(0.05)
        self.fail(f"process {pid} still runs")

    def test_code_and_words_are_kept(self):
        ended = self.run_shell("echo out; echo error: why >&2; exit 3")
        self.assertEqual((ended.code, ended.stdout, ended.stderr), (3, "out\n", "error: why\n"))
        self.assertEqual(checks.refused(ended, 3, "why").status, OK)
        self.assertEqual(checks.refused(ended, 2, "why").status, FAILED)
        self.assertEqual(checks.refused(ended, 3, "hint:").status, FAILED)

    def test_what_hangs_is_killed_with_its_children(self):
        ended = self.run_shell("echo $$ >pid; sleep 1000 & echo $! >child; wait", timeout_secs=4.0)
        self.assertTrue(ended.timed_out)
        for name in ("pid", "child"):
            pid = int((self.folder / name).read_text())
            self.assert_ends(pid)

    def test_what_outlives_its_launcher_is_named_and_ended(self):
        grace, commands.GRACE_SECS = commands.GRACE_SECS, 0.3
        self.addCleanup(setattr, commands, "GRACE_SECS", grace)
        ended = self.run_shell("sleep 1000 >/dev/null 2>&1 & echo $! >child; sleep 2; exit 0")
        self.assertEqual((ended.code, ended.left_behind), (0, ["sleep"]))
        self.assertIsNotNone(checks.ended_well(ended))
        child = int((self.folder / "child").read_text())
        self.assert_ends(child)


class Proving(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.site = site(Path(folder.name))

    def prove(self, body) -> Outcome:
        return checks.prove(Check("name", "aim", 4.0, body), self.site, 60.0)

    def test_a_check_that_hangs_is_a_timeout(self):
        outcome = self.prove(lambda bench: bench.run(["/bin/sh", "-c", "echo working >&2; sleep 1000"]))
        self.assertEqual(outcome.status, TIMEOUT)
        self.assertEqual(outcome.figures["last_words"], "working")

    def test_a_check_that_breaks_is_a_failure(self):
        outcome = self.prove(lambda bench: bench.missing)
        self.assertEqual(outcome.status, FAILED)
        self.assertIn("AttributeError", outcome.message)

    def test_each_part_has_checks_with_names_of_their_own_and_time_for_them(self):
        for cpu in (False, True):
            place = site(self.site.work, cpu)
            for name, part in PARTS.items():
                made = part(place)
                self.assertEqual(len({check.name for check in made}), len(made), name)
                self.assertTrue(all(0 < check.timeout_secs <= 480 for check in made))
                self.assertTrue(made or cpu)


class Verdicts(unittest.TestCase):
    def test_overlap_must_shorten_the_step_by_sending_early(self):
        def seen(plain: float, overlapped: float, early: int) -> dict:
            return {
                "plain": [{"median_step_s": plain, "early_buckets": 0}],
                "overlap": [{"median_step_s": overlapped, "early_buckets": early}],
            }

        proved = overlap.verdict(seen(1.0, 0.7, 3), 0.4)
        self.assertEqual(proved.status, OK)
        self.assertAlmostEqual(proved.figures["hidden_s"], 0.3)
        self.assertEqual(overlap.verdict(seen(1.0, 1.1, 3), 0.4).status, FAILED)
        self.assertEqual(overlap.verdict(seen(1.0, 0.7, 0), 0.4).status, FAILED)

    def parity(self, rows: list[dict], code: int) -> Outcome:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "dtrain"
            text = json.dumps({"rows": rows})
            program.write_text(
                '#!/bin/sh\nwhile [ "$1" != --json ]; do shift; done\n' f"cat >\"$2\" <<'END'\n{text}\nEND\nexit {code}\n"
            )
            program.chmod(0o755)
            bench = Bench(site(Path(folder), cpu=True), Path(folder), 1e12)
            return parity.parity(bench, "fp32")

    def test_parity_names_the_worst_comparison(self):
        def row(check: str, error: float | None, passed: bool) -> dict:
            return {"check": check, "quantity": "output", "error": error, "tolerance": 1e-5, "passed": passed}

        self.assertEqual(self.parity([row("a", 1e-6, True)], 0).status, OK)
        failed = self.parity([row("a", 1e-6, True), row("b", 1e-4, False), row("c", None, False)], 1)
        self.assertEqual(failed.status, FAILED)
        self.assertIn("2 of 3 beyond tolerance; c, output", failed.message)
        self.assertEqual(self.parity([row("a", 1e-6, True)], 1).status, FAILED)
        self.assertEqual(self.parity([], 0).status, FAILED)

    def throughput(self, ours: list[float], eager: list[float]) -> Outcome:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(site(Path(folder)), Path(folder), 1e12)
            figures = {"eager": iter(eager), "compile": iter(eager), "dtrain": iter(ours)}

            def side(name: str) -> dict:
                return {"samples_per_s": next(figures[name]), "peak_bytes": 1, "wall_secs": 1.0}

            old = throughput.dtrain, throughput.peer
            throughput.dtrain = lambda bench, case: side("dtrain")
            throughput.peer = lambda bench, case, *more: side("compile" if more else "eager")
            try:
                return throughput.compare(bench, throughput.CASES[0])
            finally:
                throughput.dtrain, throughput.peer = old

    def test_ratios_are_medians_within_rounds(self):
        # Rounds in which the whole machine is slower change no ratio.
        outcome = self.throughput([130.0, 65.0, 1300.0], [100.0, 50.0, 1000.0])
        self.assertEqual((outcome.status, round(outcome.figures["ratio_eager"], 3)), (OK, 1.3))
        self.assertEqual(self.throughput([110.0] * 3, [100.0] * 3).status, FAILED)


class Weights(unittest.TestCase):
    def test_distances_are_those_of_the_files(self):
        with tempfile.TemporaryDirectory() as folder:
            one, other = Path(folder) / "one", Path(folder) / "other"
            write(one, {"a": ("d", [3.0, 4.0]), "b": ("f", [0.5])})
            write(other, {"a": ("d", [3.0, 4.0]), "b": ("f", [0.25])})
            self.assertEqual(weights.distance(weights.read(one), weights.read(one))["weights"], 0.0)
            found = weights.distance(weights.read(other), weights.read(one))
            self.assertEqual((found["worst_tensor"], found["worst_tensor_name"]), (0.5, "b"))
            self.assertAlmostEqual(found["weights"], 0.25 / 25.25**0.5)
            write(other, {"a": ("d", [3.0, float("nan")]), "b": ("f", [0.5])})
            self.assertFalse(weights.distance(weights.read(other), weights.read(one))["weights"] <= 1.0)
            write(other, {"a": ("d", [3.0, 4.0])})
            with self.assertRaises(ValueError):
                weights.distance(weights.read(other), weights.read(one))


def write(path: Path, tensors: dict[str, tuple[str, list[float]]]) -> None:
    """A safetensors file."""
    header, data = {}, b""
    for name, (kind, values) in tensors.items():
        raw = array.array(kind, values).tobytes()
        dtype = {"d": "F64", "f": "F32"}[kind]
        header[name] = {"dtype": dtype, "shape": [len(values)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    sys.exit(unittest.main())
