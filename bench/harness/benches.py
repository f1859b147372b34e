"""What is run on both sides, and which figures are compared.

A bench runs in rounds. A round runs each side once, the order turning from round to round, so that a machine that
grows slower or faster in the meantime favours neither. A result keeps every round. The table shows the median of each
side, their ratio, and the ratios within rounds, by which aims are judged.
"""

import json
import os
import socket
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BenchError
from harness.processes import run

PEERS = Path(__file__).resolve().parents[1] / "peers"
PEER = "peer"


@dataclass
class Settings:
    """The command line of bench/run.py."""

    dtrain: Path
    python: str
    mpirun: str
    data_root: Path | None
    mnist_root: Path | None
    pairs: int
    steps: int
    small_steps: int
    warmup: int
    workers: int
    rows: int
    naive_rows: int
    dim: int
    timeout_secs: float
    interval_secs: float
    say: Callable[[str], None]


@dataclass
class Side:
    """One program: its name, its command given the file for its JSON, and whether it writes that file or stdout."""

    name: str
    command: Callable[[Path], list[str]]
    writes_file: bool


@dataclass
class Measure:
    """A figure that is compared: its key in the JSON of both sides, how it reads in a table, the figure to reach."""

    title: str
    unit: str
    key: str
    aim: str
    sides: tuple[str, ...] = ("dtrain",)


@dataclass
class Bench:
    """Sides in the order of the first round, the peer among them."""

    name: str
    about: str
    sides: list[Side]
    measures: list[Measure]
    warm: list[Side]


def two_ranks(settings: Settings) -> list[str]:
    """The same mpirun for both sides."""
    return [settings.mpirun, "--bind-to", "none", "--oversubscribe", "-n", "2"]


def simclr(settings: Settings, steps: int, warmup: int, *more: str) -> Callable[[Path], list[str]]:
    """Training steps of dtrain, SimCLR with ResNet-18 on spoken digits, as its defaults have it but for `more`."""
    return lambda file: [
        *two_ranks(settings), str(settings.dtrain), "bench", "step", "--steps", str(steps), "--warmup", str(warmup),
        "--json", str(file), "experiment=simclr_fsdd", f"data.root={settings.data_root}", "model=resnet18",
        "trainer.batch_size=128", *more,
    ]


def simclr_peer(settings: Settings, steps: int, warmup: int, *more: str) -> Callable[[Path], list[str]]:
    """The same steps of the PyTorch peer."""
    return lambda _: [
        *two_ranks(settings), settings.python, str(PEERS / "simclr_ddp.py"), "--steps", str(steps),
        "--warmup", str(warmup), "--batch-size", "128", "--workers", str(settings.workers),
        "--data-root", str(settings.data_root), *more,
    ]


def simclr_bench(
    settings: Settings, name: str, about: str, aim: str, ours: dict[str, list[str]], peers: list[str]
) -> Bench:
    """Training steps with the settings `ours` of each of our sides, against the peer with `peers`."""
    first, least = next((side, simclr(settings, 1, 0, *more)) for side, more in ours.items())
    measured = (settings.steps, settings.warmup)
    sides = [Side(side, simclr(settings, *measured, *more), True) for side, more in ours.items()]
    sides.insert(1, Side(PEER, simclr_peer(settings, *measured, *peers), False))
    both = tuple(ours)
    return Bench(
        name,
        f"SimCLR, ResNet-18, 64x101 log-mel, global batch 128, 2 ranks x 1 thread, {about}",
        sides,
        [
            Measure("training", "clips/s", "samples_per_s", aim, sides=both),
            Measure("start of a rank to the first step", "s", "first_step_begins_s", "1.5 s", sides=both),
            Measure("start of a rank to the end of the first step", "s", "first_step_ends_s", "", sides=both),
            Measure("peak memory of all processes", "MB", "peak_pss_bytes", "at most 0.7", sides=both),
        ],
        [Side(first, least, True), Side(PEER, simclr_peer(settings, 1, 0, *peers), False)],
    )


def step(settings: Settings) -> Bench:
    """A training step in fp32."""
    same = ["trainer.threads=1", "trainer.precision=fp32"]
    ours = {"dtrain": [*same, "trainer.sync_bn=false"], "dtrain-sync-bn": [*same, "trainer.sync_bn=true"]}
    return simclr_bench(settings, "step", "fp32", "at least 1.1", ours, [])


def step_bf16(settings: Settings) -> Bench:
    """A training step with convolutions and products in bfloat16."""
    same = ["trainer.threads=1", "trainer.precision=bf16"]
    ours = {"dtrain": [*same, "trainer.sync_bn=false"], "dtrain-sync-bn": [*same, "trainer.sync_bn=true"]}
    return simclr_bench(settings, "step-bf16", "bf16", "at least 1.25", ours, ["--precision", "bf16"])


def step_default(settings: Settings) -> Bench:
    """What a user gets who sets nothing: the fastest arithmetic here, fp32 in PyTorch's memory format there."""
    ours = {"dtrain": []}
    peers = ["--memory-format", "contiguous"]
    return simclr_bench(settings, "step-default", "default settings", "at least 2 with AMX", ours, peers)


def multihead(settings: Settings, name: str, about: str, aim: str, ours: list[str], peers: list[str]) -> Bench:
    """Training steps of a small network on images: what is not the network's arithmetic counts for more here."""

    def dtrain(steps: int, warmup: int) -> Side:
        return Side("dtrain", lambda file: [
            *two_ranks(settings), str(settings.dtrain), "bench", "step", "--steps", str(steps), "--warmup",
            str(warmup), "--json", str(file), "experiment=multihead_cnn_mnist", f"data.root={settings.mnist_root}",
            "trainer.batch_size=128", *ours,
        ], True)

    def peer(steps: int, warmup: int) -> Side:
        return Side(PEER, lambda _: [
            *two_ranks(settings), settings.python, str(PEERS / "multihead_ddp.py"), "--steps", str(steps),
            "--warmup", str(warmup), "--batch-size", "128", "--data-root", str(settings.mnist_root), *peers,
        ], False)

    measured = (settings.small_steps, 10 * settings.warmup)
    return Bench(
        name,
        f"MNIST with three heads, CNN of 422 thousand parameters, global batch 128, 2 ranks, {about}",
        [dtrain(*measured), peer(*measured)],
        [
            Measure("training", "samples/s", "samples_per_s", aim),
            Measure("start of a rank to the first step", "s", "first_step_begins_s", ""),
            Measure("start of a rank to the end of the first step", "s", "first_step_ends_s", ""),
            Measure("peak memory of all processes", "MB", "peak_pss_bytes", "at most 0.5"),
        ],
        [dtrain(1, 0), peer(1, 0)],
    )


def multihead_fp32(settings: Settings) -> Bench:
    """The same arithmetic on both sides."""
    ours = ["trainer.threads=1", "trainer.precision=fp32"]
    about = "1 thread each, fp32; the peer's batches made by one tensor operation"
    return multihead(settings, "multihead", about, "at least 1.5", ours, [])


def multihead_bf16(settings: Settings) -> Bench:
    """Convolutions and products in bfloat16 on both sides."""
    ours = ["trainer.threads=1", "trainer.precision=bf16"]
    about = "1 thread each, bf16; the peer's batches made by one tensor operation"
    return multihead(settings, "multihead-bf16", about, "at least 1.5", ours, ["--precision", "bf16"])


def multihead_default(settings: Settings) -> Bench:
    """What a user gets who sets nothing: torchvision's transforms for each sample, plain DDP and Adam there."""
    peers = ["--memory-format", "contiguous", "--input", "images", "--plain"]
    return multihead(settings, "multihead-default", "default settings", "at least 2", [], peers)


def data(settings: Settings) -> Bench:
    """Augmented views on one core, and decoding apart."""
    dtrain = Side(
        "dtrain",
        lambda file: [
            str(settings.dtrain), "bench", "data", "--json", str(file), "experiment=simclr_fsdd",
            f"data.root={settings.data_root}", "trainer.loader_threads=1",
        ],
        True,
    )
    peer = Side(
        PEER,
        lambda _: [settings.python, str(PEERS / "audio_views.py"), "--data-root", str(settings.data_root)],
        False,
    )
    return Bench(
        "data",
        "8 kHz, n_fft 256, hop 80, 64 mels, 101 frames, one core, from decoded samples in memory",
        [dtrain, peer],
        [
            Measure("augmented views", "views/s", "views_per_s_per_core", "8,000 views/s"),
            Measure("decoding", "files/s", "decoded_files_per_s", "at least 1"),
        ],
        [dtrain, peer],
    )


def loss(settings: Settings) -> Bench:
    """Exact NT-Xent, forward and gradient, on one core. The naive form cannot hold as many rows."""
    return Bench(
        "loss",
        f"NT-Xent, D = {settings.dim}, one core; dtrain at N = {settings.rows:,}, the naive form at N = "
        f"{settings.naive_rows:,}",
        [
            Side(
                "dtrain",
                lambda file: [
                    str(settings.dtrain), "bench", "loss", "--rows", str(settings.rows), "--dim", str(settings.dim),
                    "--json", str(file),
                ],
                True,
            ),
            Side(
                PEER,
                lambda _: [
                    settings.python, str(PEERS / "nt_xent_naive.py"), "--rows", str(settings.naive_rows),
                    "--dim", str(settings.dim),
                ],
                False,
            ),
        ],
        [
            Measure("loss and gradient", "ns/pair", "ns_per_pair", "10 ns"),
            Measure("extra memory", "MB", "extra_bytes", "64 MB"),
        ],
        [],
    )


def probes(settings: Settings) -> Bench:
    """Nearest neighbours and linear probes of frozen embeddings, on two cores. Both sides make them alike."""
    return Bench(
        "probes",
        "50,000 embeddings of width 512, 10,000 questions, 10 classes, 4 weight decays, 2 threads",
        [
            Side("dtrain", lambda file: [str(settings.dtrain), "bench", "probes", "--json", str(file)], True),
            Side(PEER, lambda _: [settings.python, str(PEERS / "probes.py")], False),
        ],
        [
            Measure("nearest neighbours", "s", "knn_s", ""),
            Measure("linear, 4 decays", "s", "linear_s", ""),
            Measure("both", "s", "probes_s", "60 s"),
            Measure("memory, embeddings included", "MB", "extra_bytes", "500 MB"),
        ],
        [],
    )


BENCHES: dict[str, Callable[[Settings], Bench]] = {
    "step": step,
    "step-bf16": step_bf16,
    "step-default": step_default,
    "multihead": multihead_fp32,
    "multihead-bf16": multihead_bf16,
    "multihead-default": multihead_default,
    "data": data,
    "loss": loss,
    "probes": probes,
}


def measure(bench: Bench, settings: Settings) -> dict:
    """Runs a bench: `rounds` with the raw output of each side, `medians` per side, `ratios` dtrain / peer."""
    for side in bench.warm:
        settings.say(f"{bench.name}: warming up {side.name}")
        once(side, settings)
    rounds = []
    for number in range(settings.pairs):
        order = bench.sides if number % 2 == 0 else bench.sides[::-1]
        outputs = {}
        for side in order:
            outputs[side.name] = once(side, settings)
            figures = ", ".join(
                f"{m.title} {readable(outputs[side.name].get(m.key), m.unit)}"
                for m in bench.measures
                if m.key in outputs[side.name]
            )
            settings.say(f"{bench.name}: round {number + 1} of {settings.pairs}: {side.name}: {figures}")
        rounds.append(outputs)
    return {"rounds": rounds, **summary(bench, rounds)}


def summary(bench: Bench, rounds: list[dict]) -> dict:
    """Medians of each side and medians of the ratios dtrain / peer within rounds."""
    medians: dict[str, dict] = {side.name: {} for side in bench.sides}
    ratios: dict[str, dict] = {side.name: {} for side in bench.sides if side.name != PEER}
    for m in bench.measures:
        for side in bench.sides:
            medians[side.name][m.key] = statistics.median(figure(r[side.name], m.key, side.name) for r in rounds)
        for name in ratios:
            peers = [figure(r[PEER], m.key, PEER) for r in rounds]
            if all(peer > 0 for peer in peers):
                ratios[name][m.key] = statistics.median(r[name][m.key] / p for r, p in zip(rounds, peers))
    return {"medians": medians, "ratios": ratios}


def figure(output: dict, key: str, side: str) -> float:
    """A number of one side's JSON."""
    value = output.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BenchError(f"the JSON of {side} has no number `{key}`", "build `dtrain` and bench/ from one commit")
    return value


def once(side: Side, settings: Settings) -> dict:
    """Runs one side once: its JSON, with the peak memory and the wall time seen from outside."""
    with tempfile.TemporaryDirectory(prefix="dtrain-bench-") as folder:
        file = Path(folder) / "result.json"
        done = run(side.command(file), environment(), settings.timeout_secs, settings.interval_secs)
        try:
            text = file.read_text() if side.writes_file else last_json_line(done.stdout)
            output = json.loads(text)
        except (OSError, ValueError) as error:
            raise BenchError(
                f"`{' '.join(done.command)}` ended well but left no JSON: {error}",
                "build `dtrain` and bench/ from one commit",
            ) from error
    if not isinstance(output, dict):
        raise BenchError(f"the JSON of {side.name} is no object", "build `dtrain` and bench/ from one commit")
    return {
        **output,
        "peak_pss_bytes": done.peak.total_bytes,
        "peak": done.peak.as_json(),
        "wall_secs": done.wall_secs,
        "command": published(done.command, settings),
    }


def published(command: list[str], settings: Settings) -> str:
    """A command without the paths of this machine."""
    names = {
        str(settings.dtrain): "dtrain",
        settings.python: "python",
        settings.mpirun: "mpirun",
        str(PEERS): "bench/peers",
    }
    for root, name in ((settings.data_root, "DATA_ROOT"), (settings.mnist_root, "MNIST_ROOT")):
        if root is not None:
            names[str(root)] = name
    words = [word for word in command if not word.endswith("/result.json")]
    text = " ".join(word for word in words if word != "--json")
    for path in sorted(names, key=len, reverse=True):
        text = text.replace(path, names[path])
    return text


def last_json_line(stdout: str) -> str:
    """The last line that begins like a JSON object."""
    lines = [line for line in stdout.splitlines() if line.startswith("{")]
    return lines[-1] if lines else ""


def environment() -> dict[str, str]:
    """One thread per process and a free port for gloo; Open MPI may run as root where this script does."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        env["MASTER_PORT"] = str(probe.getsockname()[1])
    if os.geteuid() == 0:
        env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return env


def readable(value: float | None, unit: str) -> str:
    """A figure with its unit; sizes come in bytes."""
    if value is None:
        return "-"
    if unit == "MB":
        value /= 1e6
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}"
