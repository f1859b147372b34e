#!/usr/bin/env python3
"""Checks the cost model of docs/scaling.md on this machine: predicted against measured steps at 1, 2 and 4 ranks.

Measures the constants first: compute at two batch sizes, by as many processes at a time as there will be ranks, each of
one rank that knows nothing of the others, so that cores, caches and memory are shared as they will be; and latency and
bandwidth of collectives between the ranks. Then `dtrain bench predict` says what the model makes of them, and `dtrain bench
step` what is true. Takes two to six minutes.

    bench/scaling.py --dtrain target/release/dtrain
    bench/scaling.py --experiment simclr_fsdd --data-root DIR --batch 64
"""

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.errors import BenchError
from harness.machine import REPOSITORY
from harness.processes import run
from harness.results import RESULTS, store

# Forward is one of the three products of a layer.
FORWARD_SHARE = 1.0 / 3.0
# Reports, directive, counts, scalars.
CONTROL_MESSAGES = 4


def main() -> int:
    args = arguments()
    try:
        if not args.dtrain.is_file():
            raise BenchError(f"no dtrain at `{args.dtrain}`", "run `cargo build --release`, or give `--dtrain PATH`")
        result = measured(args)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is stored", file=sys.stderr)
        return 130
    print(table(result["rows"]))
    if args.results is not None:
        about = "the cost model of docs/scaling.md against measured steps"
        print(store("scaling", about, args.dtrain, result, args.results))
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dtrain", type=Path, default=REPOSITORY / "target/release/dtrain", help="default: %(default)s")
    add("--mpirun", default="mpirun", help="default: %(default)s")
    add("--experiment", default="simclr_birdsong", help="default: %(default)s")
    add("--model", default="resnet18", help="default: %(default)s")
    add("--data-root", type=Path, help="recordings of the experiment; generated where it can be")
    add("--batch", type=int, default=64, help="samples of a step over all ranks; default: %(default)s")
    add("--ranks", type=int, nargs="+", default=[1, 2, 4], help="default: 1 2 4")
    add("--steps", type=int, default=6, help="timed steps of a run; default: %(default)s")
    add("--timeout", type=float, default=300.0, help="seconds for one run; default: %(default)s")
    add("--results", type=Path, default=RESULTS, help="default: %(default)s")
    add("--print-only", dest="results", action="store_const", const=None, help="store nothing")
    args = parser.parse_args()
    if min(args.ranks) < 1 or args.batch < 8 * max(args.ranks) or args.steps < 1:
        parser.error("`--ranks` and `--steps` are at least 1, and `--batch` at least 8 samples per rank")
    return args


def measured(args: argparse.Namespace) -> dict:
    """Constants, predictions and measurements."""
    rows, links, constants = [], {}, {}
    for ranks in args.ranks:
        share = args.batch // ranks
        half, whole = (alone(args, ranks, batch) for batch in (share // 2, share))
        constants[ranks] = compute_constants(half, whole)
        figures = whole if ranks == 1 else step(args, ranks, args.batch)
        links[ranks] = comm(args, ranks)
        inputs = step_inputs(figures, constants[ranks], links[ranks], ranks)
        rows.append(row(ranks, predict(args, inputs), figures))
    return {"cores": len(os.sched_getaffinity(0)), "constants": constants, "comm": links, "rows": rows}


def alone(args: argparse.Namespace, copies: int, batch: int) -> dict:
    """Figures of the slowest of some processes that each train alone, all at the same time."""
    with ThreadPoolExecutor(copies) as pool:
        figures = list(pool.map(lambda _: step(args, 1, batch), range(copies)))
    return max(figures, key=lambda f: f["split"]["compute_s"]["median"])


def compute_constants(half: dict, whole: dict) -> dict:
    """The line through a rank's work at two batch sizes: seconds per sample, and what does not depend on them."""
    work = [figures["split"]["compute_s"]["median"] for figures in (half, whole)]
    samples = [figures["model"]["global_batch"] for figures in (half, whole)]
    slope = (work[1] - work[0]) / (samples[1] - samples[0])
    if slope <= 0.0:
        raise BenchError(
            f"{samples[1]} samples took {work[1]:.3f} s and {samples[0]} took {work[0]:.3f} s",
            "something else uses this machine; raise `--steps` or wait",
        )
    return {"secs_per_sample": slope, "update_secs": max(0.0, work[1] - slope * samples[1])}


def step_inputs(figures: dict, constants: dict, link: dict, ranks: int) -> dict:
    """The file for `dtrain bench predict`."""
    model = figures["model"]
    parameters = sum(count for _, count in model["buckets"])
    done, buckets = 0, []
    for num_bytes, count in model["buckets"]:
        done += count
        buckets.append({"bytes": float(num_bytes), "ready": done / max(1, parameters)})
    channels = model["sync_channels"]
    # 2 C + 1 numbers forward and 2 C backward, of 8 bytes.
    sync_bytes = 8.0 * (2.0 * sum(channels) / len(channels) + 0.5) if channels else 0.0
    return {
        "world": ranks,
        "global_batch": model["global_batch"],
        "micro_batch": model["micro_batch"],
        "views": model["views"],
        "compute": {
            "secs_per_sample": constants["secs_per_sample"],
            "floor_secs": 0.0,
            "forward_share": FORWARD_SHARE,
        },
        "update_secs": constants["update_secs"],
        "buckets": buckets,
        "overlap": model["overlap"],
        "shard_optimizer": False,
        "sync_layers": len(channels),
        "sync_bytes": sync_bytes,
        "sync_queues": False,
        # Between CPUs a call is its own time on the wire.
        "launch_secs": 0.0,
        # For its gathers; the line through one rank's work has the time of the loss in it.
        "pair_loss": {"dim": 128, "element_bytes": 4, "secs_per_pair": 0.0, "queue_rows": 0},
        "control_messages": CONTROL_MESSAGES,
        "control_secs": link["latency_s"],
        "input_secs_per_sample": 0.0,
        "network": {
            "name": f"{ranks} ranks of this host",
            "source": "measured by `dtrain bench comm`",
            "ranks_per_node": ranks,
            "bus_within": link["bus_bytes_per_s"],
            "bus_between": link["bus_bytes_per_s"],
            "protocols": [
                {
                    "name": "measured",
                    "algorithm": "ring",
                    "base_secs": link["latency_s"],
                    "hop_within_secs": 0.0,
                    "hop_between_secs": 0.0,
                    "bandwidth_share": 1.0,
                }
            ],
        },
    }


def row(ranks: int, cost: dict, figures: dict) -> dict:
    """One line of the table."""
    split = figures["split"]
    exposed = sum(cost[name] for name in ("sync_secs", "gather_secs", "gradient_exposed_secs", "control_secs"))
    return {
        "ranks": ranks,
        "predicted_step_s": cost["step_secs"],
        "measured_step_s": figures["median_step_s"],
        "error": cost["step_secs"] / figures["median_step_s"] - 1.0,
        "predicted_compute_s": cost["compute_secs"] + cost["update_secs"],
        "measured_compute_s": split["compute_s"]["max"],
        "predicted_comm_s": exposed,
        # The rank that waits least for the others has what communication itself takes.
        "measured_comm_s": split["comm_exposed_s"]["min"] + split["wait_s"]["min"],
        "slowest_rank": split["slowest_rank"],
    }


def table(rows: list[dict]) -> str:
    """Markdown, as docs/scaling.md has it."""
    lines = [
        "| ranks | step predicted | measured | error | compute predicted | measured | communication predicted | measured |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        lines.append(
            f"| {r['ranks']} | {ms(r['predicted_step_s'])} | {ms(r['measured_step_s'])} | {100 * r['error']:+.0f} % "
            f"| {ms(r['predicted_compute_s'])} | {ms(r['measured_compute_s'])} "
            f"| {ms(r['predicted_comm_s'])} | {ms(r['measured_comm_s'])} |"
        )
    return "\n".join(lines)


def ms(secs: float) -> str:
    """Milliseconds, three digits."""
    value = secs * 1e3
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} ms"


def step(args: argparse.Namespace, ranks: int, batch: int) -> dict:
    """Figures of `dtrain bench step`; one thread per rank, so that ranks and not threads are compared."""
    words = ["bench", "step", "--steps", str(args.steps), "--warmup", "2", f"experiment={args.experiment}"]
    words += [f"model={args.model}", f"trainer.batch_size={batch}", "trainer.threads=1", "trainer.loader_threads=1"]
    words += ["trainer.device=cpu", "trainer.precision=fp32", "trainer.micro_batch_size=" + str(batch)]
    if args.data_root is not None:
        words.append(f"data.root={args.data_root}")
    return dtrain(args, ranks, words)


def comm(args: argparse.Namespace, ranks: int) -> dict:
    """Latency, and bus bandwidth of an all-reduce of a bucket's size."""
    if ranks == 1:
        return {"latency_s": 0.0, "bus_bytes_per_s": 1e12}
    words = ["bench", "comm", "--bytes", "1M,25M", "--reps", "10", "trainer.device=cpu", "trainer.threads=1"]
    figures = dtrain(args, ranks, words)
    large = [r for r in figures["rows"] if r["operation"] == "all_reduce"][-1]
    return {
        "latency_s": figures["latency_s"],
        "bus_bytes_per_s": large["bus_gb_per_s"] * 1e9,
        "of_bare": large["of_bare"],
    }


def predict(args: argparse.Namespace, inputs: dict) -> dict:
    """The model's answer, from the program itself: there is one model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.json"
        path.write_text(json.dumps(inputs))
        return dtrain(args, 1, ["bench", "predict", str(path)])


def dtrain(args: argparse.Namespace, ranks: int, words: list[str]) -> dict:
    """Runs dtrain and reads the JSON of its figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = [str(args.dtrain.resolve()), *words, "--json", str(path)]
        if ranks > 1:
            command = [args.mpirun, "--bind-to", "none", "--oversubscribe", "-n", str(ranks), *command]
        print(" ".join(command), file=sys.stderr)
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        run(command, env={**os.environ, **root}, timeout_secs=args.timeout, interval_secs=0.5)
        return json.loads(path.read_text())


if __name__ == "__main__":
    sys.exit(main())
