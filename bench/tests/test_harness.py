"""The harness against stand-ins for dtrain, mpirun and the peers: `python3 -m unittest discover -s bench/tests`."""

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCH))

from harness import benches, table  # noqa: E402
from harness.errors import BenchError  # noqa: E402
from harness.processes import run  # noqa: E402

FAKE_DTRAIN = """#!/bin/sh
what=$2
while [ $# -gt 0 ]; do [ "$1" = --json ] && file=$2; shift; done
case $what in
    step) echo '{"samples_per_s": 60, "median_step_s": 2, "steps": 1, "first_step_begins_s": 1,
                 "first_step_ends_s": 3, "loss_first": 5, "loss_last": 4}' >"$file" ;;
    data) echo '{"views_per_s_per_core": 9000, "decoded_files_per_s": 100}' >"$file" ;;
    loss) echo '{"ns_per_pair": 5, "extra_bytes": 32000000, "rows": 8, "dim": 2, "tile": 4}' >"$file" ;;
    probes) echo '{"knn_s": 1, "linear_s": 2, "probes_s": 3, "extra_bytes": 32000000}' >"$file" ;;
esac
"""

FAKE_PYTHON = """#!/bin/sh
case $1 in
    -c) exit 0 ;;
    *simclr_ddp.py) echo starting; echo '{"samples_per_s": 40, "first_step_begins_s": 4, "first_step_ends_s": 6}' ;;
    *multihead_ddp.py) echo '{"samples_per_s": 30, "first_step_begins_s": 4, "first_step_ends_s": 6}' ;;
    *audio_views.py) echo '{"views_per_s_per_core": 3000, "decoded_files_per_s": 200}' ;;
    *nt_xent_naive.py) echo '{"ns_per_pair": 20, "extra_bytes": 64000000}' ;;
    *peers/probes.py) echo '{"knn_s": 2, "linear_s": 4, "probes_s": 6, "extra_bytes": 64000000}' ;;
esac
"""

FAKE_MPIRUN = """#!/bin/sh
shift 5
exec "$@"
"""

PAGE = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"


class Program(unittest.TestCase):
    """bench/run.py as a user calls it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for name, text in {"dtrain": FAKE_DTRAIN, "python": FAKE_PYTHON, "mpirun": FAKE_MPIRUN}.items():
            self.script(name, text)
        (self.folder / "digits").mkdir()
        (self.folder / "digits/7_jackson_32.wav").touch()
        (self.folder / "mnist").mkdir()
        (self.folder / "mnist/train-images-idx3-ubyte.gz").touch()
        (self.folder / "page.md").write_text(PAGE)

    def script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def call(self, *args: str, **replaced: str) -> subprocess.CompletedProcess:
        options = {
            "dtrain": self.folder / "dtrain",
            "python": self.folder / "python",
            "mpirun": self.folder / "mpirun",
            "data-root": self.folder / "digits",
            "mnist-root": self.folder / "mnist",
            "results": self.folder / "results",
            "docs": self.folder / "page.md",
            "pairs": 2,
            **{key.replace("_", "-"): value for key, value in replaced.items()},
        }
        flags = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        return subprocess.run(
            [sys.executable, str(BENCH / "run.py"), *args, *flags], capture_output=True, text=True, timeout=60
        )

    def test_all_benches_are_measured_stored_and_tabled(self):
        done = self.call()
        self.assertEqual(done.returncode, 0, done.stderr)
        results = {r["bench"]: r for r in map(json.loads, map(Path.read_text, (self.folder / "results").iterdir()))}
        self.assertEqual(set(results), set(benches.BENCHES))
        self.assertEqual(results["multihead"]["ratios"]["dtrain"]["samples_per_s"], 2)
        self.assertEqual(results["step"]["ratios"]["dtrain"]["samples_per_s"], 1.5)
        self.assertEqual(results["step"]["ratios"]["dtrain-sync-bn"]["first_step_begins_s"], 0.25)
        self.assertEqual(results["loss"]["ratios"]["dtrain"]["extra_bytes"], 0.5)
        self.assertEqual(len(results["step"]["rounds"]), 2)
        self.assertEqual(list(results["step"]["rounds"][0]), ["dtrain", "peer", "dtrain-sync-bn"])
        self.assertEqual(list(results["step"]["rounds"][1]), ["dtrain-sync-bn", "peer", "dtrain"])
        self.assertNotIn(str(self.folder), json.dumps(results))
        page = (self.folder / "page.md").read_text()
        self.assertTrue(page.startswith("before\n") and page.endswith("after\n") and "old" not in page)
        self.assertIn("| augmented views | 9,000 views/s | 3,000 views/s | 3.00 | 3.00 (3.00 to 3.00) | 8,000 views/s |", page)

    def test_what_is_missing_is_named_with_the_next_step(self):
        (self.folder / "empty").mkdir()
        self.script("no-torch", "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n")
        cases = {
            "no dtrain at": {"dtrain": "/nowhere/dtrain"},
            "no folder `/nowhere`": {"data_root": "/nowhere"},
            "no recordings such as": {"data_root": self.folder / "empty"},
            "no `train-images-idx3-ubyte`": {"mnist_root": self.folder / "empty"},
            "cannot run `/nowhere/python`": {"python": "/nowhere/python"},
            "No module named 'torch'": {"python": self.folder / "no-torch"},
            "no `/nowhere/mpirun`": {"mpirun": "/nowhere/mpirun"},
        }
        for message, replaced in cases.items():
            with self.subTest(message):
                done = self.call("step", "multihead", **replaced)
                self.assertEqual(done.returncode, 1)
                self.assertIn(message, done.stderr)
                self.assertIn("\n\nhint: ", done.stderr)
                self.assertNotIn("Traceback", done.stderr)

    def test_a_side_that_fails_is_quoted(self):
        self.script("dtrain", "#!/bin/sh\necho 'error: unknown key `trainer.x`' >&2\nexit 2\n")
        done = self.call("loss")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ended with 2\n\nerror: unknown key `trainer.x`", done.stderr)

    def test_a_side_without_its_figures_is_named(self):
        self.script("dtrain", FAKE_DTRAIN.replace("ns_per_pair", "nanoseconds"))
        done = self.call("loss")
        self.assertEqual(done.returncode, 1)
        self.assertIn("the JSON of dtrain has no number `ns_per_pair`", done.stderr)

    def test_the_table_shows_the_newest_result(self):
        self.assertEqual(self.call("loss").returncode, 0)
        stored = next((self.folder / "results").iterdir())
        newer = json.loads(stored.read_text())
        newer["date"] = "2999-01-01T00:00:00+00:00"
        for round in newer["rounds"]:
            round["dtrain"]["ns_per_pair"] = 1.25
        (self.folder / "results/loss-29990101T000000Z.json").write_text(json.dumps(newer))
        (self.folder / "results/soak-29990101T000000Z.json").write_text('{"runs": []}')
        self.assertEqual(self.call("--table-only").returncode, 0)
        self.assertIn("| loss and gradient | 1.25 ns/pair |", (self.folder / "page.md").read_text())


def result(date: str, dirty: bool | None, rounds: list[tuple[float, float]], aim: str = "", unit: str = "clips/s") -> dict:
    """A result of `step` with one figure; a round is that of dtrain and that of the peer."""
    return {
        "bench": "step",
        "about": "about",
        "date": date,
        "code": {"commit": None, "dirty": dirty},
        "machine": {"cpu": "c", "cores": 2, "memory_bytes": 1, "kernel": "k", "avx512": 1, "bf16": 1, "amx": 0},
        "measures": [{"title": "t", "unit": unit, "key": "k", "aim": aim, "sides": ["dtrain"]}],
        "rounds": [{"dtrain": {"k": ours}, "peer": {"k": peer}} for ours, peer in rounds],
        "file": "f.json",
    }


class Table(unittest.TestCase):
    """What a reader can check."""

    def row(self, rounds, aim="", unit="clips/s") -> list[str]:
        text = table.section(result("2026-01-01", False, rounds, aim, unit))
        row = next(line for line in text.splitlines() if line.startswith("| t |"))
        return [cell.strip() for cell in row.split("|")[2:-1]]

    def test_a_ratio_is_that_of_the_figures_beside_it(self):
        rounds = [(121, 58.5), (175, 91.5), (90, 98.9)]
        self.assertEqual(self.row(rounds), ["121 clips/s", "91.5 clips/s", "1.32", "1.91 (0.91 to 2.07)", ""])
        self.assertEqual(self.row(rounds[:1]), ["121 clips/s", "58.5 clips/s", "2.07", "2.07 (2.07 to 2.07)", ""])
        self.assertEqual(self.row([(5, 0), (6, 1)])[2:4], ["-", "-"])

    def test_every_row_of_the_page_can_be_recomputed(self):
        page = (BENCH.parent / "docs/benchmarks.md").read_text()
        rows = [line for line in page.split(table.BEGIN)[1].split(table.END)[0].splitlines() if " | " in line]
        checked = 0
        for row in rows:
            cells = [cell.strip() for cell in row.split("|")[1:-1]]
            if cells[0] in ("", "---") or cells[3] in ("-", "ratio") or cells[3].startswith("--"):
                continue
            ours, peer = (float(cell.split()[0].replace(",", "")) for cell in cells[1:3])
            # Figures are shown with three digits at least, ratios with two after the point.
            self.assertAlmostEqual(ours / peer, float(cells[3]), delta=0.006 + 0.01 * ours / peer, msg=row)
            checked += 1
        self.assertGreater(checked, 20)

    def test_an_aim_that_is_missed_says_so(self):
        for aim, unit, ours, peer, missed in [
            ("at least 1.1", "clips/s", 10, 10, True),
            ("at least 1.1", "clips/s", 12, 10, False),
            ("at most 0.7", "MB", 8, 10, True),
            ("1.5 s", "s", 1.53, 4.0, True),
            ("1.5 s", "s", 1.26, 4.0, False),
            ("8,000 views/s", "views/s", 7999, 100, True),
            ("64 MB", "MB", 65e6, 1e9, True),
            ("64 MB", "MB", 63e6, 1e9, False),
            ("at least 2 with AMX", "clips/s", 10, 10, False),
            ("", "s", 10, 10, False),
        ]:
            with self.subTest(aim=aim, ours=ours):
                self.assertEqual(self.row([(ours, peer)], aim, unit)[4], f"{aim}, **missed**" if missed else aim)

    def test_a_tree_with_local_changes_replaces_no_clean_result(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for stamp, dirty in [("20260101", False), ("20260102", False), ("20260103", True), ("20260104", None)]:
                stored = result(f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:]}", dirty, [(1, 1)])
                (folder / f"step-{stamp}T000000Z.json").write_text(json.dumps(stored))
            self.assertEqual([r["date"] for r in table.newest_results(folder, ["step"])], ["2026-01-02"])
            for path in folder.glob("step-2026010[12]*"):
                path.unlink()
            self.assertEqual([r["date"] for r in table.newest_results(folder, ["step"])], ["2026-01-04"])

    def test_a_result_says_how_far_it_is_behind(self):
        self.assertEqual(table.age(None), "")
        self.assertEqual(table.age("HEAD"), "")
        self.assertEqual(table.age("0" * 40), ", which this history does not hold")
        first = subprocess.run(
            ["git", "rev-list", "--max-parents=0", "HEAD"], cwd=BENCH, capture_output=True, text=True, check=True
        ).stdout.split()[0]
        if table.commits_behind(first) == 0:
            self.skipTest("a checkout without history")
        self.assertRegex(table.age(first), r"^, \d+ commits behind$")


class Memory(unittest.TestCase):
    """The peak over a tree of processes."""

    def peak(self, code: str) -> int:
        done = run([sys.executable, "-c", code], dict(os.environ), 30.0, 0.02)
        return done.peak.total_bytes

    def test_children_count_and_shared_pages_count_once(self):
        hold = "x = bytearray(1) * 50_000_000; import os, time; "
        alone = self.peak(hold + "time.sleep(0.6)")
        forked = self.peak(hold + "pid = os.fork(); time.sleep(0.6); pid and os.wait()")
        copied = self.peak("import os; pid = os.fork(); " + hold + "time.sleep(0.6); pid and os.wait()")
        self.assertLess(abs(forked - alone), 10_000_000)
        self.assertGreater(copied - alone, 40_000_000)

    def test_a_timeout_ends_the_whole_tree(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pid"
            code = f"sleep 60 & echo $! >{file}; sleep 60"
            with self.assertRaises(BenchError):
                run(["sh", "-c", code], dict(os.environ), 0.5, 0.02)
            time.sleep(0.1)
            state = Path(f"/proc/{file.read_text().strip()}/stat")
            self.assertTrue(not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z")


class Output(unittest.TestCase):
    """What is read from the sides."""

    def test_the_last_json_line_counts(self):
        self.assertEqual(benches.last_json_line('{"a": 1}\nwarning\n{"a": 2}\nend\n'), '{"a": 2}')

    def test_figures_are_readable(self):
        self.assertEqual(benches.readable(33_554_432, "MB"), "33.6 MB")
        self.assertEqual(benches.readable(9123.4, "views/s"), "9,123 views/s")
        self.assertEqual(benches.readable(None, "s"), "-")


if __name__ == "__main__":
    unittest.main()
