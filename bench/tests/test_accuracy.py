"""Results of finished runs: `python3 -m unittest discover -s bench/tests`."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]


class Accuracy(unittest.TestCase):
    """bench/accuracy.py as a user calls it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "dtrain").touch()

    def run_dir(self, name: str, seed: int, accuracy: float | None, reason: str = "finished") -> Path:
        path = self.folder / name
        path.mkdir()
        metrics = {"test/acc": accuracy, "test_clean/acc": 1.0, "perf/samples_per_s": 9.0, "train/loss": None}
        result = {"world_size": 2, "stop_reason": reason, "step": 8, "wall_s": 1.5, "metrics": metrics}
        (path / "result.json").write_text(json.dumps(result))
        environment = {"started": "2026-01-01T00:00:00Z", "dtrain": "0.1.0", "cpu": "c", "host": "secret"}
        (path / "environment.json").write_text(json.dumps(environment))
        words = ["experiment=a_b", f"data.root={self.folder}/data", f"seed={seed}", "tags=[x, y]"]
        (path / "overrides.txt").write_text("\n".join(words) + "\n")
        (path / "config.yaml").write_text(f"experiment: a_b\nseed: {seed}\ndata:\n  seed: 99\n")
        return path

    def call(self, *runs: Path) -> subprocess.CompletedProcess:
        options = ["--dtrain", str(self.folder / "dtrain"), "--results", str(self.folder / "results")]
        words = [sys.executable, str(BENCH / "accuracy.py"), *options, "--about", "a test", *map(str, runs)]
        return subprocess.run(words, capture_output=True, text=True, timeout=60)

    def test_runs_of_an_experiment_become_one_result(self):
        runs = [self.run_dir(f"r{seed}", seed, accuracy) for seed, accuracy in [(0, 0.9), (1, 0.5), (2, 0.8)]]
        done = self.call(*runs)
        self.assertEqual(done.returncode, 0, done.stderr)
        (path,) = (self.folder / "results").iterdir()
        self.assertRegex(path.name, r"^accuracy-a_b-\d{8}T\d{6}Z\.json$")
        result = json.loads(path.read_text())
        self.assertEqual(result["medians"], {"test/acc": 0.8, "test_clean/acc": 1.0})
        self.assertEqual([run["seed"] for run in result["runs"]], [0, 1, 2])
        first = result["runs"][0]
        self.assertEqual(
            first["command"], "mpirun -n 2 --bind-to none dtrain experiment=a_b data.root=PATH seed=0 'tags=[x, y]'"
        )
        self.assertEqual((first["wall_s"], first["steps"]), (1.5, 8))
        self.assertNotIn("perf/samples_per_s", first["metrics"])
        self.assertIn("commit", result["code"])
        self.assertIn("cpu", result["machine"])
        self.assertNotIn(str(self.folder), path.read_text())
        self.assertNotIn("secret", path.read_text())

    def test_what_is_no_finished_run_is_refused(self):
        for run, message in [
            (self.run_dir("cut", 0, 0.5, "interrupted"), "has not finished: interrupted"),
            (self.folder / "nowhere", "result.json` cannot be read"),
        ]:
            with self.subTest(message):
                done = self.call(run)
                self.assertEqual(done.returncode, 1)
                self.assertIn(message, done.stderr)
                self.assertIn("\n\nhint: ", done.stderr)
                self.assertFalse((self.folder / "results").exists())


if __name__ == "__main__":
    unittest.main()
