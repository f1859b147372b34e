"""Gradient sums hide behind backward: `dtrain bench step` of two ranks on one GPU, with and without overlap.

The time of a step is taken by events on the GPU. What overlap saves of it, as a part of what the sums take by themselves
(`dtrain bench comm` at the size of all gradients), is the hidden part. Loopback sockets are slower than any network between
GPUs, so that there is much to hide; the two ranks share one GPU, so that steps are slow and only their difference counts.
"""

import statistics

from gpu.checks import FAILED, OK, Bench, Check, Outcome, ended_well, read_json
from gpu.place import Site

ROUNDS = 2
WAYS = {"overlap": "true", "plain": "false"}
# fp32 gradients of ResNet-18 with one input channel and SimCLR's projector.
GRADIENT_BYTES = 46_000_000


def checks(site: Site) -> list[Check]:
    """On a CPU there is nothing to overlap with."""
    if site.cpu:
        return []
    return [Check("exposed communication", "a step is shorter with overlap, and buckets are sent early", 300, exposed)]


def exposed(bench: Bench) -> Outcome:
    """Medians over alternating rounds."""
    seen: dict[str, list[dict]] = {way: [] for way in WAYS}
    for number in range(ROUNDS):
        for way in list(WAYS) if number % 2 == 0 else list(WAYS)[::-1]:
            file = bench.folder / f"{way}{number}.json"
            ended = bench.dtrain(
                "bench", "step", "--steps", "20", "--warmup", "5", "--json", file, "--synthetic", "1x64x100",
                "experiment=simclr_birdsong", "model=resnet18", "trainer.batch_size=256", "trainer.device=cuda",
                "trainer.precision=bf16", "trainer.sync_bn=false", "trainer.deterministic=false", "comm.backend=nccl",
                f"trainer.overlap={WAYS[way]}", f"data.root={bench.site.data}", ranks=2, own_hosts=True,
            )  # fmt: skip
            wrong = ended_well(ended)
            if wrong:
                return wrong
            seen[way].append(read_json(file))
    file = bench.folder / "comm.json"
    ended = bench.dtrain(
        "bench", "comm", "--bytes", GRADIENT_BYTES, "--reps", "5", "--json", file, "comm.backend=nccl",
        "trainer.device=cuda", ranks=2, own_hosts=True,
    )  # fmt: skip
    wrong = ended_well(ended)
    if wrong:
        return wrong
    sums = [row["median_s"] for row in read_json(file)["rows"] if row["operation"] == "all_reduce"]
    return verdict(seen, sums[0])


def verdict(seen: dict[str, list[dict]], sums_s: float) -> Outcome:
    """Shorter, and for the right reason."""
    step_s = {way: statistics.median(one["median_step_s"] for one in rounds) for way, rounds in seen.items()}
    early = {way: max(one["early_buckets"] for one in rounds) for way, rounds in seen.items()}
    hidden_s = step_s["plain"] - step_s["overlap"]
    figures = {"step_s": step_s, "sums_s": sums_s, "hidden_s": hidden_s, "early_buckets": early, "rounds": seen}
    text = (
        f"{hidden_s * 1e3:.1f} ms of {sums_s * 1e3:.1f} ms of sums hidden ({hidden_s / sums_s:.0%}); step "
        f"{step_s['overlap'] * 1e3:.1f} ms against {step_s['plain'] * 1e3:.1f} ms"
    )
    proved = hidden_s > 0 and early["overlap"] > 0 and early["plain"] == 0
    return Outcome(OK if proved else FAILED, text, figures)
