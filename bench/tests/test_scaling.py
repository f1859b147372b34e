"""bench/scaling.py against a stand-in for dtrain whose figures are known: `python3 -m unittest discover -s bench/tests`."""

import argparse
import json
import sys
import tempfile
import unittest
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCH))

import scaling  # noqa: E402
from harness.errors import BenchError  # noqa: E402

# Answers by the verb; keeps what it was asked to predict.
FAKE_DTRAIN = """#!/usr/bin/env python3
import json, sys
words = sys.argv[1:]
out = words[words.index("--json") + 1]
spread = lambda value: {"min": value, "median": value, "max": value}
if words[1] == "step":
    batch = next(int(w.split("=")[1]) for w in words if w.startswith("trainer.batch_size="))
    work = 0.5 + 0.01 * batch
    figures = {"median_step_s": work, "split": {"compute_s": spread(work), "comm_exposed_s": spread(0.0),
               "wait_s": spread(0.0), "slowest_rank": 0},
               "model": {"global_batch": batch, "micro_batch": None, "views": 2, "overlap": False,
                         "buckets": [[100, 1], [300, 3]], "sync_channels": [64, 128]}}
elif words[1] == "comm":
    row = {"operation": "all_reduce", "bus_gb_per_s": 2.0, "of_bare": 1.0}
    figures = {"latency_s": 1e-5, "rows": [row]}
else:
    inputs = json.load(open(words[2]))
    figures = {"asked": inputs, "step_secs": inputs["compute"]["secs_per_sample"] * inputs["global_batch"]
               + inputs["update_secs"], "compute_secs": 1.0, "update_secs": 0.0, "sync_secs": 0.0, "gather_secs": 0.0,
               "gradient_exposed_secs": 0.0, "control_secs": 0.0}
json.dump(figures, open(out, "w"))
"""


def args(dtrain: Path, **changes) -> argparse.Namespace:
    """A command line."""
    settings = {"dtrain": dtrain, "mpirun": "mpirun", "experiment": "e", "model": "m", "data_root": None, "batch": 64}
    return argparse.Namespace(**{**settings, "ranks": [1], "steps": 1, "timeout": 30.0, "results": None, **changes})


class Scaling(unittest.TestCase):
    def test_constants_are_the_line_through_two_batches(self):
        with tempfile.TemporaryDirectory() as folder:
            dtrain = Path(folder) / "dtrain"
            dtrain.write_text(FAKE_DTRAIN)
            dtrain.chmod(0o755)
            result = scaling.measured(args(dtrain))
        self.assertAlmostEqual(result["constants"][1]["secs_per_sample"], 0.01)
        self.assertAlmostEqual(result["constants"][1]["update_secs"], 0.5)
        [row] = result["rows"]
        self.assertAlmostEqual(row["error"], 0.0)
        self.assertIn("| 1 | 1140 ms | 1140 ms | ", scaling.table([row]))

    def test_what_a_busy_machine_gives_is_refused(self):
        def figures(batch, secs):
            return {"model": {"global_batch": batch}, "split": {"compute_s": {"median": secs}}}

        with self.assertRaises(BenchError):
            scaling.compute_constants(figures(16, 2.0), figures(32, 1.0))

    def test_buckets_and_sums_become_the_model_s_inputs(self):
        figures = {
            "model": {
                "global_batch": 8,
                "micro_batch": None,
                "views": 2,
                "overlap": True,
                "buckets": [[100, 1], [300, 3]],
                "sync_channels": [64, 128],
            }
        }
        link = {"latency_s": 1e-5, "bus_bytes_per_s": 2e9}
        inputs = scaling.step_inputs(figures, {"secs_per_sample": 1.0, "update_secs": 0.5}, link, 4)
        self.assertEqual(inputs["buckets"], [{"bytes": 100.0, "ready": 0.25}, {"bytes": 300.0, "ready": 1.0}])
        self.assertEqual(inputs["sync_bytes"], 8 * (2 * 96 + 0.5))
        self.assertEqual((inputs["compute"]["secs_per_sample"], inputs["update_secs"]), (1.0, 0.5))
        self.assertEqual(json.loads(json.dumps(inputs)), inputs)


if __name__ == "__main__":
    unittest.main()
