"""NCCL between ranks: the same weights as one rank, and a clear end for everything that can go wrong.

Several ranks share one GPU, each as a machine of its own to NCCL, and talk over loopback sockets. With `--cpu` ranks talk
over MPI instead.
"""

import os
import signal
from pathlib import Path

from gpu import weights
from gpu.checks import FAILED, OK, Bench, Check, Outcome, ended_well, first_error, message, read_json, refused
from gpu.commands import Ended
from gpu.place import Site
from harness.processes import read_stat

F64_WEIGHTS = 1e-10
F64_TENSOR = 1e-8
WAIT_SECS = 8
LAUNCH_US = 50.0


def checks(site: Site) -> list[Check]:
    """In the order of what builds on what."""
    if site.cpu:
        return [
            Check("2 ranks equal one", "fp64, 8 steps over MPI: weights within 1e-10", 60, lambda b: equal_one(b, 2)),
            Check("NCCL absent", "exit 3, the library's name and a hint", 30, without_nccl),
            Check("a rank is killed", "all end, no process is left", 60, lambda b: lost(b, signal.SIGKILL)),
        ]
    return [
        Check("one rank", "collectives of one rank go through NCCL", 60, one_rank),
        Check("2 ranks equal one", "fp64, 8 steps: weights within 1e-10", 90, lambda b: equal_one(b, 2)),
        Check("4 ranks equal one", "the same", 120, lambda b: equal_one(b, 4)),
        Check(
            "2 ranks, sharded",
            "optimizer state in parts: weights within 1e-10",
            90,
            lambda b: equal_one(b, 2, "trainer.shard_optimizer=true", "trainer.bucket_bytes=65536"),
        ),
        Check(
            "2 ranks, not blocking",
            "NCCL's other way to call: weights within 1e-10",
            90,
            lambda b: equal_one(b, 2, "comm.nccl_blocking=false"),
        ),
        Check("launches, 2 ranks", "starting a collective takes the host less than 50 us", 60, lambda b: launches(b, 2)),
        Check("equivalence, 2 ranks", "`dtrain verify equivalence` in fp64 and fp32", 120, lambda b: equivalence(b, 2)),
        Check("bandwidth, 2 ranks", "all_reduce, reduce_scatter, all_gather work; figures", 60, lambda b: bandwidth(b, 2)),
        Check("a rank is killed", "all end, no process is left", 60, lambda b: lost(b, signal.SIGKILL)),
        Check(
            "a rank stops", f"the others end within comm.timeout_secs={WAIT_SECS}", 90, lambda b: lost(b, signal.SIGSTOP)
        ),
        Check("NCCL absent", "exit 3, the library's name and a hint", 30, without_nccl),
        Check("more ranks than GPUs", "exit 3 and a hint with `-n`", 40, too_many_ranks),
    ]


def one_rank(bench: Bench) -> Outcome:
    """A world of one needs no NCCL in training; its collectives are called by `bench comm`."""
    return bandwidth(bench, 1)


def bandwidth(bench: Bench, ranks: int) -> Outcome:
    """Collectives through the transport of training."""
    file = bench.folder / "comm.json"
    ended = bench.dtrain(
        "bench", "comm", "--bytes", "1M,25M", "--reps", "10", "--json", file, "comm.backend=nccl",
        f"trainer.device={bench.device()}", ranks=ranks, own_hosts=True,
    )  # fmt: skip
    wrong = ended_well(ended)
    if wrong:
        return wrong
    figures = read_json(file)
    if figures.get("backend") != "nccl":
        return Outcome(FAILED, f"the backend is {figures.get('backend')}", figures)
    best = max((row["bus_gb_per_s"] or 0.0 for row in figures["rows"]), default=0.0)
    return Outcome(OK, f"{len(figures['rows'])} operations, bus bandwidth up to {best:.2f} GB/s", figures)


def launches(bench: Bench, ranks: int) -> Outcome:
    """What the host spends in starting a small all-reduce: a step with synchronized batch norm has a hundred of them."""
    figures: dict[str, float] = {}
    for blocking in ("true", "false"):
        file = bench.folder / f"launch-{blocking}.json"
        ended = bench.dtrain(
            "bench", "comm", "--bytes", "4k", "--reps", "20", "--json", file, "comm.backend=nccl",
            f"comm.nccl_blocking={blocking}", f"trainer.device={bench.device()}", ranks=ranks, own_hosts=True,
        )  # fmt: skip
        wrong = ended_well(ended)
        if wrong:
            return wrong
        figures[blocking] = 1e6 * read_json(file)["launch_s"]
    said = f"{figures['true']:.1f} us, {figures['false']:.1f} us without blocking"
    return Outcome(OK if figures["true"] < LAUNCH_US else FAILED, said, figures)


def equal_one(bench: Bench, ranks: int, *more: str) -> Outcome:
    """The weights of a short run, read from its checkpoints."""
    common = ["trainer.precision=fp64", *more]
    backend = "mpi" if bench.site.cpu else "nccl"
    single = bench.dtrain("train", *bench.settings("one", *common))
    many = bench.dtrain(
        "train", *bench.settings("many", *common, f"comm.backend={backend}"), ranks=ranks, own_hosts=not bench.site.cpu
    )
    wrong = ended_well(single) or ended_well(many)
    if wrong:
        return wrong
    if backend not in many.stderr:
        return Outcome(FAILED, f"the start of the run does not name {backend}", {"last_words": many.tail()})
    one, other = (weights.read(weights.newest(bench.folder / name)) for name in ("one", "many"))
    found = weights.distance(other, one)
    start = f"weights differ by {found['weights']:.1e}, `{found['worst_tensor_name']}` by {found['worst_tensor']:.1e}"
    within = found["weights"] <= F64_WEIGHTS and found["worst_tensor"] <= F64_TENSOR
    return Outcome(OK if within else FAILED, start, found)


def equivalence(bench: Bench, ranks: int) -> Outcome:
    """Everything that the command compares, over the real transport."""
    file = bench.folder / "equivalence.json"
    ended = bench.dtrain(
        "verify", "equivalence", *bench.settings("unused", "comm.backend=nccl"), "--json", file, ranks=ranks, own_hosts=True
    )
    figures = read_json(file)
    wrong = ended_well(ended)
    last = (ended.stdout.strip() or ended.stderr.strip()).splitlines()
    return wrong or Outcome(OK, last[-1] if last else "done", figures)


def lost(bench: Bench, how: signal.Signals) -> Outcome:
    """Sends a signal to the last rank after some steps. mpirun ends the others of a dead one; a stopped one takes their
    own time limit."""
    metrics = bench.folder / "lost/metrics.jsonl"

    def strike(processes: list[int]) -> bool:
        if not metrics.is_file() or len(metrics.read_text().splitlines()) < 5:
            return False
        ranks = sorted(pid for pid in processes if Path(f"/proc/{pid}/exe").exists() and is_rank(pid, bench))
        if len(ranks) < 2:
            return False
        os.kill(ranks[-1], how)
        struck.append(read_stat(ranks[-1]).get("started", ""))
        return True

    struck: list[str] = []
    backend = "mpi" if bench.site.cpu else "nccl"
    more = ["trainer.max_steps=1000000", "trainer.max_epochs=null", f"comm.timeout_secs={WAIT_SECS}", f"comm.backend={backend}"]
    ended: Ended = bench.dtrain(
        "train", *bench.settings("lost", *more), ranks=2, own_hosts=not bench.site.cpu, while_running=strike
    )
    figures = {"code": ended.code, "wall_secs": ended.wall_secs, "said": message(ended)}
    if not struck:
        return Outcome(FAILED, f"no step was seen: {first_error(ended)}", figures)
    if ended.left_behind or ended.code == 0:
        return Outcome(FAILED, f"exit code {ended.code}, left behind: {ended.left_behind}", figures)
    if how == signal.SIGSTOP and "waited" not in ended.stderr:
        return Outcome(FAILED, f"the end does not say who waited: {first_error(ended)}", figures)
    return Outcome(OK, f"exit code {ended.code}, no process left; {first_error(ended)}", figures)


def is_rank(pid: int, bench: Bench) -> bool:
    """Whether a process is a rank: the program that dtrain has become."""
    try:
        return Path(f"/proc/{pid}/exe").resolve() == bench.site.dtrain.resolve().with_name("dtrain-worker")
    except OSError:
        return False


def without_nccl(bench: Bench) -> Outcome:
    """On the CPU, where libtorch brings no NCCL of its own into the process."""
    settings = bench.settings("unused", "comm.backend=nccl", "trainer.device=cpu")
    ended = bench.dtrain("train", *settings, ranks=2, env=bench.site.env(with_nccl=False))
    return refused(ended, 3, "hint:", "nccl")


def too_many_ranks(bench: Bench) -> Outcome:
    """One rank more than there are GPUs, none with an identity of its own."""
    ranks = max(len(bench.site.gpus), 1) + 1
    return refused(bench.dtrain("train", *bench.settings("unused"), ranks=ranks), 3, "hint:", "-n ")
