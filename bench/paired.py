#!/usr/bin/env python3
"""Two builds of dtrain on one machine in one call: is the new one slower, and does it train to the same weights?

Each pair runs `dtrain bench step` with both builds, the order turning from pair to pair. A ratio is new / old within a pair; given
are the geometric mean over the pairs and its 95 % interval (Student's t on the logarithms). A build counts as not slower when
the interval reaches 1.02 or below. `--weights` instead trains each experiment for some steps with both builds and compares
`model.safetensors` byte by byte.

    bench/paired.py --old OLD/dtrain simclr_fsdd supervised_fsdd multihead_cnn_mnist
    bench/paired.py --old OLD/dtrain --weights 6 --ranks 2 simclr_fsdd ...
    bench/paired.py --old OLD/dtrain --set model=resnet18 --set trainer.batch_size=64 simclr_fsdd

Without experiments it takes all that both builds have. Data are generated where an experiment has none.
"""

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.errors import BenchError
from harness.machine import REPOSITORY, file_sha256, machine
from harness.processes import run
from harness.results import store

LIMIT = 1.02
# Fields of a run's JSON and how they read; less is better.
FIGURES = [
    ("median_step_s", "step"),
    ("median_cpu_s", "CPU time of a step"),
    ("first_step_begins_s", "start of a rank to the first step"),
    ("peak_pss_bytes", "peak memory of all processes"),
]


def main() -> int:
    args = arguments()
    where = machine()
    try:
        experiments = args.experiments or shared_experiments(args)
        if args.weights:
            return same_weights(args, experiments)
        results = {name: compare(args, name) for name in experiments}
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    figures = {
        "pairs": args.pairs,
        "steps": args.steps,
        "ranks": args.ranks,
        "settings": args.set,
        "old_sha256": file_sha256(args.old),
        "limit": LIMIT,
        "experiments": results,
    }
    about = f"two builds in turn, {args.ranks} rank(s), {args.pairs} pairs of {args.steps} steps"
    path = store("paired", about, args.new, figures, where=where)
    print(path.name)
    return 0 if all(result["not_slower"] for result in results.values()) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT")
    parser.add_argument("--old", type=Path, required=True, help="the dtrain to compare with")
    parser.add_argument("--new", type=Path, default=REPOSITORY / "target/release/dtrain")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of both")
    parser.add_argument("--weights", type=int, metavar="STEPS", help="train so many steps and compare the weights")
    parser.add_argument("--timeout", type=float, default=600)
    args = parser.parse_args()
    if args.pairs < 3:
        parser.error("--pairs must be 3 at least: an interval needs a spread")
    return args


def launched(args: argparse.Namespace, program: Path, *words: str) -> list[str]:
    """The command of one rank or several."""
    several = ["mpirun", "--bind-to", "none", "--oversubscribe", "-n", str(args.ranks)] if args.ranks > 1 else []
    return [*several, str(program.absolute()), *words]


def shared_experiments(args: argparse.Namespace) -> list[str]:
    """Names that both builds list."""
    lists = []
    for program in (args.old, args.new):
        done = run([str(program), "ls"], dict(os.environ), args.timeout, 1.0)
        names = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
        lists.append([name for name in names if name != "experiment"])
    both = [name for name in lists[0] if name in lists[1]]
    if not both:
        raise BenchError("the two builds share no experiment", "name experiments on the command line")
    return both


def compare(args: argparse.Namespace, experiment: str) -> dict:
    """Figures of all pairs of one experiment, and what they say."""
    pairs = []
    with tempfile.TemporaryDirectory(prefix="dtrain-paired-") as folder:
        for program in (args.old, args.new):
            step(args, program, experiment, Path(folder), steps=1, warmup=0)
        for number in range(args.pairs):
            order = [("old", args.old), ("new", args.new)]
            pair = {}
            for side, program in order if number % 2 == 0 else order[::-1]:
                pair[side] = step(args, program, experiment, Path(folder), args.steps, args.warmup)
            pairs.append(pair)
    ratios = {
        key: interval([pair["new"][key] / pair["old"][key] for pair in pairs])
        for key, _ in FIGURES
        if all(pair[side].get(key) for pair in pairs for side in pair)
    }
    same = all(pair["old"][key] == pair["new"][key] for pair in pairs for key in ("loss_first", "loss_last"))
    for key, title in FIGURES:
        if key in ratios:
            of = ratios[key]
            print(f"{experiment}: {title}: {of['mean']:.3f} ({of['low']:.3f} to {of['high']:.3f})")
    print(f"{experiment}: losses {'equal bit for bit' if same else 'DIFFER'}", flush=True)
    return {
        "ratios": ratios,
        "same_losses": same,
        "not_slower": ratios["median_step_s"]["low"] <= LIMIT,
        "rounds": pairs,
    }


def step(args: argparse.Namespace, program: Path, experiment: str, folder: Path, steps: int, warmup: int) -> dict:
    """One run of `dtrain bench step`."""
    file = folder / "figures.json"
    file.unlink(missing_ok=True)
    words = ["bench", "step", "--steps", str(steps), "--warmup", str(warmup), "--json", str(file)]
    done = run(launched(args, program, *words, f"experiment={experiment}", *args.set), dict(os.environ), args.timeout, 0.2)
    figures = json.loads(file.read_text())
    kept = {key: figures.get(key) for key, _ in FIGURES} | {key: figures[key] for key in ("loss_first", "loss_last")}
    return kept | {"peak_pss_bytes": done.peak.total_bytes}


def interval(ratios: list[float]) -> dict:
    """Geometric mean of positive ratios with its 95 % interval."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    half = student_t(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return {"mean": math.exp(mean), "low": math.exp(mean - half), "high": math.exp(mean + half)}


def student_t(degrees: int) -> float:
    """Two-sided 95 % quantile: Cornish-Fisher expansion from the normal one, within 0.5 % from 4 degrees on."""
    if degrees < 4:
        return {1: 12.706, 2: 4.303, 3: 3.182}[degrees]
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = [
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    ]
    return z + sum(term / degrees**power for power, term in enumerate(terms, 1))


def same_weights(args: argparse.Namespace, experiments: list[str]) -> int:
    """Trains with both builds and compares the weights byte by byte."""
    differing = []
    for experiment in experiments:
        sums = {}
        for side, program in (("old", args.old), ("new", args.new)):
            with tempfile.TemporaryDirectory(prefix="dtrain-weights-") as folder:
                sums[side] = trained(args, program, experiment, Path(folder) / "run")
        same = sums["old"] == sums["new"]
        print(f"{experiment}: {'the same weights' if same else 'OTHER WEIGHTS'} after {args.weights} steps", flush=True)
        if not same:
            differing.append(experiment)
    return 1 if differing else 0


def trained(args: argparse.Namespace, program: Path, experiment: str, run_dir: Path) -> str:
    """Checksum of the weights after a short training."""
    settings = [
        f"experiment={experiment}", "trainer.max_epochs=null", f"trainer.max_steps={args.weights}", "eval.every_epochs=0",
        "stop.monitor=null", "checkpoint.monitor=null", f"run.dir={run_dir}", *args.set,
    ]
    done = subprocess.run(
        launched(args, program, "train", *settings), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=args.timeout, check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"`{program} {' '.join(settings)}` ended with {done.returncode}\n\n{done.stderr[-2000:]}", "run it by itself")
    newest = max((run_dir / "checkpoints").glob("step-*/model.safetensors"))
    return hashlib.sha256(newest.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
