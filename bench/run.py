#!/usr/bin/env python3
"""Measures dtrain against the same work in PyTorch, side by side on this machine.

Runs both programs in turn, samples the memory of all their processes from outside, writes bench/results/*.json and
rewrites the table in docs/benchmarks.md.

    bench/run.py --python VENV/bin/python --data-root DIGITS --mnist-root MNIST   all benches
    bench/run.py loss probes --python VENV/bin/python                             two benches that need no data
    bench/run.py --table-only                                                     the table again, from the results
"""

import argparse
import dataclasses
import math
import shutil
import subprocess
import sys
from pathlib import Path

from harness.benches import BENCHES, Settings, measure
from harness.errors import BenchError
from harness.machine import REPOSITORY, machine
from harness.processes import check_memory_readings
from harness.results import RESULTS, store
from harness.table import newest_results, render, rewrite

STEPS = {"step", "step-bf16", "step-default"}
MULTIHEAD = {"multihead", "multihead-bf16", "multihead-default"}
PEER_PACKAGES = "torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0"


def main() -> int:
    args = arguments()
    try:
        if not args.table_only:
            names = args.benches or list(BENCHES)
            settings = checked(args, names)
            for name in names:
                write_result(name, settings, args.results)
        if args.docs is not None:
            rewrite(args.docs, render(newest_results(args.results, list(BENCHES))))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished benches are stored", file=sys.stderr)
        return 130
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("benches", nargs="*", metavar="BENCH", help=f"{', '.join(BENCHES)}; all by default")
    add("--dtrain", type=Path, default=REPOSITORY / "target/release/dtrain", help="default: %(default)s")
    add("--python", default=sys.executable, help=f"a Python with {PEER_PACKAGES}; default: this one")
    add("--mpirun", default="mpirun", help="starts both sides of a step; default: %(default)s")
    add("--data-root", type=Path, help="folder with the spoken digits, for the steps and `data`")
    add("--mnist-root", type=Path, help="folder with the files of MNIST, for `multihead` and its kin")
    add("--pairs", type=positive, default=3, help="rounds, each with both sides; default: %(default)s")
    add("--steps", type=positive, default=20, help="measured steps of a `step` run; default: %(default)s")
    add("--small-steps", type=positive, default=400, help="of a `multihead` run; default: %(default)s")
    add("--warmup", type=positive, default=3, help="steps before them (multihead: tenfold); default: %(default)s")
    add("--workers", type=int, default=1, help="the peer's loader processes per rank; default: %(default)s")
    add("--rows", type=positive, default=32768, help="rows of dtrain's loss; default: %(default)s")
    add("--naive-rows", type=positive, default=8192, help="rows of the naive loss; default: %(default)s")
    add("--dim", type=positive, default=128, help="size of an embedding; default: %(default)s")
    add("--timeout", type=float, default=1200.0, help="seconds for one run; default: %(default)s")
    add("--interval", type=float, default=0.2, help="seconds between memory samples; default: %(default)s")
    add("--results", type=Path, default=RESULTS, help="default: %(default)s")
    add("--docs", type=optional_path, default=REPOSITORY / "docs/benchmarks.md", help="page to update; `none`: no page")
    add("--table-only", action="store_true", help="measure nothing, rewrite the table")
    args = parser.parse_args()
    unknown = [name for name in args.benches if name not in BENCHES]
    if unknown:
        parser.error(f"unknown bench `{unknown[0]}`; there are {', '.join(BENCHES)}")
    if not (0.01 <= args.interval < math.inf and 1.0 <= args.timeout < math.inf and args.workers >= 0):
        parser.error("`--interval` must be at least 0.01, `--timeout` at least 1, `--workers` at least 0")
    return args


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def optional_path(text: str) -> Path | None:
    """A path, or nothing for `none`."""
    return None if text == "none" else Path(text)


def checked(args: argparse.Namespace, names: list[str]) -> Settings:
    """Settings, after a look at everything that the benches need; nothing has been measured yet."""
    check_memory_readings()
    if not args.dtrain.is_file():
        raise BenchError(f"no dtrain at `{args.dtrain}`", "run `cargo build --release`, or give `--dtrain PATH`")
    if (STEPS | MULTIHEAD) & set(names) and shutil.which(args.mpirun) is None:
        raise BenchError(f"no `{args.mpirun}`", "run `scripts/setup.sh`, or give `--mpirun PATH`")
    if (STEPS | {"data"}) & set(names):
        if args.data_root is None:
            raise BenchError(
                "the steps and `data` need the spoken digits", "give `--data-root DIR`, or run `bench/run.py loss`"
            )
        if not args.data_root.is_dir():
            raise BenchError(f"no folder `{args.data_root}`", "see bench/README.md for where the digits come from")
        if next(args.data_root.rglob("*_*_*.wav"), None) is None:
            raise BenchError(
                f"no recordings such as `7_jackson_32.wav` below `{args.data_root}`",
                "see bench/README.md for where the digits come from",
            )
    if MULTIHEAD & set(names):
        check_mnist(args.mnist_root)
    check_python(args.python)
    return Settings(
        dtrain=args.dtrain.resolve(),
        python=args.python,
        mpirun=args.mpirun,
        data_root=args.data_root and args.data_root.resolve(),
        mnist_root=args.mnist_root and args.mnist_root.resolve(),
        pairs=args.pairs,
        steps=args.steps,
        small_steps=args.small_steps,
        warmup=args.warmup,
        workers=args.workers,
        rows=args.rows,
        naive_rows=args.naive_rows,
        dim=args.dim,
        timeout_secs=args.timeout,
        interval_secs=args.interval,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )


def check_mnist(root: Path | None) -> None:
    """Raises where the training images are not there."""
    hint = "see bench/README.md for where MNIST comes from"
    if root is None:
        raise BenchError("`multihead` and its kin need MNIST", f"give `--mnist-root DIR`; {hint}")
    if not any((root / f"train-images-idx3-ubyte{end}").is_file() for end in ("", ".gz")):
        raise BenchError(f"no `train-images-idx3-ubyte` or `train-images-idx3-ubyte.gz` in `{root}`", hint)


def check_python(python: str) -> None:
    """Raises where the peers could not be imported."""
    hint = f"make a virtual environment with {PEER_PACKAGES} and give `--python VENV/bin/python` (bench/README.md)"
    try:
        done = subprocess.run(
            [python, "-c", "import torch, torchvision, torchaudio"], capture_output=True, text=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"cannot run `{python}`: {error}", hint) from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchError(f"`{python}` cannot run the PyTorch peers: {reason}", hint)


def write_result(name: str, settings: Settings, folder: Path) -> None:
    """Measures one bench and stores everything that is known about the measurement."""
    bench, where = BENCHES[name](settings), machine()
    figures = {"measures": [dataclasses.asdict(m) for m in bench.measures], **measure(bench, settings)}
    print(store(name, bench.about, settings.dtrain, figures, folder, where))


if __name__ == "__main__":
    sys.exit(main())
