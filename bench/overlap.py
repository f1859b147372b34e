#!/usr/bin/env python3
"""How much of the time on the wire backward hides, with NCCL's stand-in and a wire of known speed.

Two CPU ranks train ResNet-18 through the NCCL transport: without wire time, with wire time and `trainer.overlap=false`, and
with wire time and `trainer.overlap=true`, in turns. The wire is so slow that all gradients take half of a backward pass. What is hidden is
(without overlap - with overlap) / (without overlap - no wire) of the gradient tail, the time from the end of backward to the
last sum, on the rank that waits least: what the other waits longer, it waits for that rank. The same of the step's time is
given beside it; it also holds what the stand-in's sums take from the cores that compute.

    bench/overlap.py --data-root DIR [--rounds 3] [--precision fp32]

`cargo build --release --workspace` makes the stand-in.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from harness.benches import environment
from harness.errors import BenchError
from harness.machine import REPOSITORY, machine
from harness.processes import run
from harness.results import store

DTRAIN = REPOSITORY / "target/release/dtrain"
STANDIN = "libdtrain_nccl_standin.so"
NAMES = ["libnccl.so", "libnccl.so.2", "libcuda.so", "libcuda.so.1"]
# Forward and backward share a step's computation about as 1 to 2.
BACKWARD_SHARE = 2 / 3
RESNET18_GRADIENT_BYTES = 4 * 11.5e6


def main() -> int:
    args = arguments()
    where = machine()
    try:
        result = measure(args)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    about = "SimCLR, ResNet-18, global batch 128, 2 CPU ranks x 1 thread over the stand-in, " + args.precision
    path = store("overlap", about, DTRAIN, result, where=where)
    print(f"hidden: {100 * result['hidden']:.0f} % of {result['wire_secs']:.3f} s on the wire; {path.name}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with the spoken digits")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    return parser.parse_args()


def measure(args: argparse.Namespace) -> dict:
    """Steps without wire time, then the three kinds of step in rounds."""
    built = REPOSITORY / "target/release"
    library = next((path for path in [built / STANDIN, built / "deps" / STANDIN] if path.is_file()), None)
    if library is None:
        raise BenchError(f"no `{STANDIN}` below `{built}`", "run `cargo build --release --workspace`")
    with tempfile.TemporaryDirectory(prefix="dtrain-overlap-") as folder:
        for name in NAMES:
            (Path(folder) / name).symlink_to(library)

        def step(overlap: bool, bytes_per_sec: float | None) -> dict:
            return once(args, folder, overlap, bytes_per_sec)

        free = step(False, None)["median_step_s"]
        wire_secs = free * BACKWARD_SHARE / 2
        speed = RESNET18_GRADIENT_BYTES / wire_secs
        rounds = []
        for number in range(args.rounds):
            kinds = {"no_wire": (True, None), "serial": (False, speed), "overlapped": (True, speed)}
            names = list(kinds) if number % 2 == 0 else list(kinds)[::-1]
            rounds.append({name: step(*kinds[name]) for name in names})
            print({name: round(figures["median_step_s"], 4) for name, figures in rounds[-1].items()}, file=sys.stderr)
    return {
        "wire_secs": wire_secs,
        "bytes_per_sec": speed,
        **summary(rounds),
        "rounds": rounds,
    }


def summary(rounds: list[dict]) -> dict:
    """Medians over the rounds of what is hidden, by the gradient tail and by the step's time."""

    def hidden(seconds) -> float:
        shares = []
        for kinds in rounds:
            no_wire, serial, overlapped = (seconds(kinds[name]) for name in ["no_wire", "serial", "overlapped"])
            shares.append((serial - overlapped) / (serial - no_wire))
        return statistics.median(shares)

    return {
        "hidden": hidden(lambda figures: figures["split"]["gradient_tail_s"]["min"]),
        "hidden_of_step": hidden(lambda figures: figures["median_step_s"]),
    }


def once(args: argparse.Namespace, folder: str, overlap: bool, bytes_per_sec: float | None) -> dict:
    """One run of `dtrain bench step` on two ranks."""
    file = Path(folder) / "step.json"
    command = [
        "mpirun", "--bind-to", "none", "--oversubscribe", "-n", "2", str(DTRAIN),
        "bench", "step", "--steps", str(args.steps), "--warmup", "2", "--json", str(file), "experiment=simclr_fsdd",
        f"data.root={args.data_root.resolve()}", "model=resnet18", "trainer.batch_size=128", "trainer.threads=1",
        f"trainer.precision={args.precision}", "trainer.sync_bn=false", "trainer.device=cpu", "comm.backend=nccl",
        f"trainer.overlap={str(overlap).lower()}", "trainer.bucket_bytes=4194304",
    ]
    env = {**environment(), "LD_LIBRARY_PATH": folder, "DTRAIN_STANDIN_DIR": folder}
    if bytes_per_sec is not None:
        env["DTRAIN_STANDIN_BYTES_PER_S"] = str(int(bytes_per_sec))
    run(command, env, 900.0, 1.0)
    return json.loads(file.read_text())


if __name__ == "__main__":
    sys.exit(main())
