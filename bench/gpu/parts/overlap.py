"""Gradient sums hide behind backward: `dtrain bench step` of two ranks on one GPU, with and without overlap.

Loopback sockets are slower than any network between GPUs, so that there is much to hide. On one GPU the two ranks share
the processors too: what counts is the time that is left visible, not the speed.
"""

import statistics

from gpu.checks import FAILED, OK, Bench, Check, Outcome, ended_well, read_json
from gpu.site import Site

ROUNDS = 2
WAYS = {"overlap": "true", "plain": "false"}


def checks(site: Site) -> list[Check]:
    """On a CPU there is nothing to overlap with."""
    if site.cpu:
        return []
    return [Check("exposed communication", "less with overlap than without", 240, exposed)]


def exposed(bench: Bench) -> Outcome:
    """Medians over alternating rounds of the slowest rank's seconds."""
    seen: dict[str, list[dict]] = {way: [] for way in WAYS}
    for number in range(ROUNDS):
        order = list(WAYS) if number % 2 == 0 else list(WAYS)[::-1]
        for way in order:
            file = bench.folder / f"{way}{number}.json"
            ended = bench.dtrain(
                "bench", "step", "--steps", "20", "--warmup", "5", "--json", file, "--synthetic", "3x64x64",
                "experiment=simclr_birdsong", "model=resnet18", "trainer.batch_size=256", "trainer.device=cuda",
                "trainer.precision=bf16", "trainer.sync_bn=false", "comm.backend=nccl", f"trainer.overlap={WAYS[way]}",
                f"data.root={bench.site.data}", ranks=2, own_hosts=True,
            )  # fmt: skip
            wrong = ended_well(ended)
            if wrong:
                return wrong
            seen[way].append(read_json(file))
    figures = {way: summary(rounds) for way, rounds in seen.items()} | {"rounds": seen}
    plain, overlapped = (figures[way]["exposed_s"] for way in ("plain", "overlap"))
    text = f"{overlapped * 1e3:.1f} ms of {plain * 1e3:.1f} ms stay visible, {saved(figures)}"
    return Outcome(OK if overlapped < plain else FAILED, text, figures)


def summary(rounds: list[dict]) -> dict:
    """Medians of what both ways are compared by."""
    return {
        "exposed_s": statistics.median(r["split"]["gradient_tail_s"]["max"] for r in rounds),
        "step_s": statistics.median(r["median_step_s"] for r in rounds),
    }


def saved(figures: dict) -> str:
    """Change of the whole step."""
    return f"step {figures['overlap']['step_s'] * 1e3:.1f} ms against {figures['plain']['step_s'] * 1e3:.1f} ms"
