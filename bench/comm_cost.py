#!/usr/bin/env python3
"""What communication costs a step on CPUs: two ranks against the same work alone plus bare all-reduces.

A round measures, in turn, a step of two ranks; two processes of one rank each, at the same time, with half the batch each;
and a bare MPI_Allreduce of the gradient's size. The figure is

    step of two ranks / (slower of the two alone + bare all-reduce)

with local batch norm, so that both sides compute the same. The slower one counts, since two ranks wait for each other.

    bench/comm_cost.py --data-root DIR [--rounds 5] [--precision fp32]
"""

import argparse
import json
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.benches import environment
from harness.errors import BenchError
from harness.machine import REPOSITORY, machine
from harness.processes import run
from harness.results import store

DTRAIN = REPOSITORY / "target/release/dtrain"
MPIRUN = ["mpirun", "--bind-to", "none", "--oversubscribe", "-n", "2"]


def main() -> int:
    args = arguments()
    where = machine()
    try:
        rounds = [one_round(args, number) for number in range(args.rounds)]
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    result = {"ratio": statistics.median(figures["ratio"] for figures in rounds), "rounds": rounds}
    about = "SimCLR, ResNet-18, global batch 128, 2 CPU ranks x 1 thread, " + args.precision
    path = store("comm-cost", about, DTRAIN, result, where=where)
    print(f"step of two ranks / (alone + bare all-reduce): {result['ratio']:.3f}; {path.name}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with the spoken digits")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    return parser.parse_args()


def one_round(args: argparse.Namespace, number: int) -> dict:
    """Both kinds of step, the order turning from round to round, and the bare sum."""
    kinds = [together, alone] if number % 2 == 0 else [alone, together]
    figures = {kind.__name__: kind(args) for kind in kinds}
    bare_secs = bare_all_reduce(figures["together"]["model"]["buckets"])
    slower = max(step["median_step_s"] for step in figures["alone"])
    ratio = figures["together"]["median_step_s"] / (slower + bare_secs)
    brief = {
        "together_s": figures["together"]["median_step_s"],
        "alone_s": [step["median_step_s"] for step in figures["alone"]],
        "bare_all_reduce_s": bare_secs,
        "ratio": ratio,
        "split": figures["together"]["split"],
    }
    print({name: brief[name] for name in ["together_s", "alone_s", "bare_all_reduce_s", "ratio"]}, file=sys.stderr)
    return brief


def together(args: argparse.Namespace) -> dict:
    """A step of two ranks."""
    return dtrain(MPIRUN, step_words(args, 128))


def alone(args: argparse.Namespace) -> list[dict]:
    """Two processes that know nothing of each other, so that they share caches and memory as two ranks do."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda _: dtrain([], step_words(args, 64)), range(2)))


def bare_all_reduce(buckets: list[list[int]]) -> float:
    """Seconds of MPI_Allreduce in place for all buckets of the gradient, one after the other."""
    sizes = sorted({num_bytes for num_bytes, _ in buckets})
    words = ["bench", "comm", "--bytes", ",".join(str(size) for size in sizes), "--reps", "20"]
    words += ["trainer.device=cpu", "trainer.threads=1"]
    rows = dtrain(MPIRUN, words)["rows"]
    bare = {row["bytes"]: row["bare_median_s"] for row in rows if row["operation"] == "all_reduce"}
    return sum(bare[num_bytes] for num_bytes, _ in buckets)


def step_words(args: argparse.Namespace, batch: int) -> list[str]:
    return [
        "bench", "step", "--steps", str(args.steps), "--warmup", "2", "experiment=simclr_fsdd",
        f"data.root={args.data_root.resolve()}", "model=resnet18", f"trainer.batch_size={batch}", "trainer.threads=1",
        "trainer.loader_threads=1", f"trainer.precision={args.precision}", "trainer.sync_bn=false", "trainer.device=cpu",
    ]


def dtrain(launcher: list[str], words: list[str]) -> dict:
    """Runs dtrain and reads the JSON of its figures."""
    with tempfile.TemporaryDirectory(prefix="dtrain-comm-cost-") as folder:
        file = Path(folder) / "figures.json"
        run([*launcher, str(DTRAIN), *words, "--json", str(file)], environment(), 900.0, 1.0)
        return json.loads(file.read_text())


if __name__ == "__main__":
    sys.exit(main())
