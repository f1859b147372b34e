"""Training speed beside PyTorch on the same GPU: SimCLR steps with synthetic views on the device on both sides, in turns.

The peer is bench/gpu/simclr_gpu.py, in eager mode and compiled. Rounds go on while there is time; figures are medians, and
ratios are taken within rounds, since a GPU's clock changes with its temperature.
"""

import json
import statistics
import sys
from dataclasses import dataclass

from gpu.checks import FAILED, OK, Bench, Check, Outcome, Stopped, ended_well, first_error, read_json
from gpu.place import Site

MAX_ROUNDS = 3
STEPS, WARMUP = 40, 10
DATA_SHARE = 0.02


@dataclass(frozen=True)
class Case:
    """A network, its input and what is to be reached against eager PyTorch."""

    name: str
    model: str
    peer_model: list[str]
    shape: str
    batch_size: int
    ratio: float


CASES = [
    Case("ResNet-18, 3x32x32", "resnet18_small_stem", ["--model", "resnet18", "--stem", "small"], "3x32x32", 1024, 1.2),
    Case("ResNet-18, 1x64x100", "resnet18", ["--model", "resnet18", "--stem", "imagenet"], "1x64x100", 1024, 1.2),
    Case("ResNet-50, 3x224x224", "resnet50", ["--model", "resnet50", "--stem", "imagenet"], "3x224x224", 128, 1.0),
]


def checks(site: Site) -> list[Check]:
    """A comparison per case, and the share of waiting for data. A CPU has bench/run.py instead."""
    if site.cpu:
        return []
    aim = "samples/s, dtrain / PyTorch eager at least {}; torch.compile beside both"
    checks = [Check(case.name, aim.format(case.ratio), 130, lambda b, case=case: compare(b, case)) for case in CASES]
    return [*checks, Check("data time", f"waiting for the loader below {DATA_SHARE:.0%} of a step", 80, data_time)]


def compare(bench: Bench, case: Case) -> Outcome:
    """Three programs in turns."""
    sides = {
        "dtrain": lambda: dtrain(bench, case),
        "eager": lambda: peer(bench, case),
        "compile": lambda: peer(bench, case, "--compile"),
    }
    rounds: list[dict] = []
    problems: dict[str, str] = {}
    for number in range(MAX_ROUNDS):
        longest = max((side["wall_secs"] for one in rounds for side in one.values()), default=0.0)
        if rounds and bench.left() < 3.5 * longest:
            break
        seen = {}
        for name in list(sides) if number % 2 == 0 else list(sides)[::-1]:
            try:
                seen[name] = sides[name]()
            except (Broken, Stopped) as error:
                problems[name] = str(error) or "out of time"
        if not {"dtrain", "eager"} <= seen.keys():
            break
        rounds.append(seen)
    figures = {"case": case.name, "rounds": rounds, "problems": problems}
    if not rounds:
        return Outcome(FAILED, "; ".join(f"{name}: {text}" for name, text in problems.items()), figures)
    for name in ("dtrain", "eager", "compile"):
        of_side = [one[name] for one in rounds if name in one]
        if of_side:
            figures[name] = {
                key: statistics.median(side[key] for side in of_side) for key in ("samples_per_s", "peak_bytes")
            }
    for name in ("eager", "compile"):
        ratios = [one["dtrain"]["samples_per_s"] / one[name]["samples_per_s"] for one in rounds if name in one]
        if ratios:
            figures[f"ratio_{name}"] = statistics.median(ratios)
    ratio = figures["ratio_eager"]
    compiled = f", compile {figures['ratio_compile']:.2f}" if "ratio_compile" in figures else ""
    text = f"{figures['dtrain']['samples_per_s']:.0f} samples/s; against eager {ratio:.2f} (aim {case.ratio}){compiled}"
    return Outcome(OK if ratio >= case.ratio else FAILED, text, figures)


class Broken(Exception):
    """A side that did not end well."""


def dtrain(bench: Bench, case: Case) -> dict:
    """One run of dtrain, with cuDNN's fastest algorithms as the peer has them."""
    file = bench.folder / "step.json"
    ended = bench.dtrain(
        "bench", "step", "--steps", STEPS, "--warmup", WARMUP, "--json", file, "--synthetic", case.shape,
        "experiment=simclr_birdsong", f"model={case.model}", f"trainer.batch_size={case.batch_size}",
        "trainer.device=cuda", "trainer.precision=bf16", "trainer.deterministic=false", "optimizer=adamw",
        f"data.root={bench.site.data}",
    )  # fmt: skip
    wrong = ended_well(ended)
    if wrong:
        raise Broken(wrong.message)
    seen = read_json(file)
    return {
        "samples_per_s": seen["samples_per_s"],
        "peak_bytes": seen["peak_bytes"],
        "step_s": seen["median_step_s"],
        "loss_last": seen["loss_last"],
        "wall_secs": ended.wall_secs,
    }


def peer(bench: Bench, case: Case, *more: str) -> dict:
    """One run of PyTorch."""
    ended = bench.run(
        [
            sys.executable, bench.site.root / "bench/gpu/simclr_gpu.py", *case.peer_model, "--shape", case.shape,
            "--batch-size", case.batch_size, "--steps", STEPS, "--warmup", WARMUP, *more,
        ],
        env=bench.site.env(with_nccl=True, more={"TORCHINDUCTOR_CACHE_DIR": str(bench.site.work / "inductor")}),
    )  # fmt: skip
    if ended.code != 0:
        raise Broken(first_error(ended))
    return {**json.loads(ended.stdout.strip().splitlines()[-1]), "wall_secs": ended.wall_secs}


def data_time(bench: Bench) -> Outcome:
    """Decoding, features and augmentation of the packed recordings beside the same step."""
    file = bench.folder / "step.json"
    ended = bench.dtrain(
        "bench", "step", "--steps", STEPS, "--warmup", WARMUP, "--json", file, "experiment=simclr_birdsong",
        "model=resnet18", "trainer.batch_size=64", "trainer.device=cuda", "trainer.precision=bf16",
        "trainer.deterministic=false", "trainer.max_epochs=null", f"data.root={bench.site.data}",
    )  # fmt: skip
    wrong = ended_well(ended)
    if wrong:
        return wrong
    seen = read_json(file)
    share = seen["median_data_s"] / seen["median_step_s"]
    return Outcome(OK if share < DATA_SHARE else FAILED, f"{share:.1%} of {seen['median_step_s'] * 1e3:.1f} ms", seen)
