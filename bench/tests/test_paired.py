"""bench/paired.py against stand-ins for two builds."""

import io
import math
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCH))

import paired  # noqa: E402

BUILD = """#!/bin/sh
[ "$1" = ls ] && {{ echo ' experiment  what'; echo ' a  one'; echo ' {other}  two'; exit 0; }}
for word in "$@"; do
    case $word in run.dir=*) mkdir -p "${{word#run.dir=}}/checkpoints/step-1"; printf %s {weights} >"${{word#run.dir=}}/checkpoints/step-1/model.safetensors" ;; esac
done
while [ $# -gt 0 ]; do [ "$1" = --json ] && file=$2; shift; done
[ -z "$file" ] || echo '{{"median_step_s": {step}, "median_cpu_s": 1, "first_step_begins_s": 1, "loss_first": 3, "loss_last": {loss}}}' >"$file"
"""


class Interval(unittest.TestCase):
    def test_quantiles_are_those_of_the_tables(self):
        for degrees, quantile in [(1, 12.706), (3, 3.182), (4, 2.776), (9, 2.262), (14, 2.145), (29, 2.045), (200, 1.972)]:
            self.assertAlmostEqual(paired.student_t(degrees) / quantile, 1, delta=0.005)

    def test_an_interval_is_about_the_geometric_mean(self):
        found = paired.interval([2.0, 0.5, 1.0, 1.0])
        self.assertAlmostEqual(found["mean"], 1.0)
        self.assertAlmostEqual(found["low"] * found["high"], 1.0)
        half = 3.182 * math.log(2) * math.sqrt(2 / 3) / 2
        self.assertAlmostEqual(math.log(found["high"]), half, places=3)


class Builds(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def build(self, name: str, step: float = 1, loss: float = 2, weights: str = "w", other: str = "b") -> Path:
        path = self.folder / name
        path.write_text(BUILD.format(step=step, loss=loss, weights=weights, other=other))
        path.chmod(0o755)
        return path

    def compare(self, old: Path, new: Path) -> dict:
        argv, sys.argv = sys.argv, ["paired.py", "--old", str(old), "--new", str(new), "--pairs", "3"]
        try:
            with redirect_stdout(io.StringIO()):
                return paired.compare(paired.arguments(), "a")
        finally:
            sys.argv = argv

    def test_a_slower_build_is_told_from_an_equal_one(self):
        old = self.build("old")
        self.assertTrue(self.compare(old, self.build("same"))["not_slower"])
        slower = self.compare(old, self.build("slower", step=1.1))
        self.assertFalse(slower["not_slower"])
        self.assertAlmostEqual(slower["ratios"]["median_step_s"]["low"], 1.1)
        self.assertTrue(slower["same_losses"])
        self.assertFalse(self.compare(old, self.build("other", loss=2.5))["same_losses"])

    def weights(self, old: Path, new: Path) -> subprocess.CompletedProcess:
        command = [sys.executable, str(BENCH / "paired.py"), "--old", str(old), "--new", str(new), "--weights", "2"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_other_weights_are_found(self):
        old = self.build("old")
        same = self.weights(old, self.build("same", other="c"))
        self.assertEqual((same.returncode, same.stdout), (0, "a: the same weights after 2 steps\n"), same.stderr)
        other = self.weights(old, self.build("new", weights="v"))
        self.assertEqual(other.returncode, 1)
        self.assertIn("b: OTHER WEIGHTS", other.stdout)

    def test_builds_that_share_no_experiment_are_refused(self):
        lists = "#!/bin/sh\necho ' x  y'\n"
        (self.folder / "old").write_text(lists)
        (self.folder / "old").chmod(0o755)
        done = self.weights(self.folder / "old", self.build("new"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("share no experiment", done.stderr)


if __name__ == "__main__":
    unittest.main()
