"""The table in docs/benchmarks.md, made from the newest result of each bench."""

import json
import re
import statistics
from pathlib import Path

from harness.benches import PEER, readable
from harness.errors import BenchError
from harness.machine import commits_behind

BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"
# `at least 1.1`, `at most 0.7`, `at least 2 with AMX`: of the ratio; `1.5 s`, `8,000 views/s`: of our figure.
AIM = re.compile(
    r"(?:(?P<bound>at least|at most) )?(?P<number>[\d.,]+)(?: (?P<unit>[\w/]+))??(?: with (?P<feature>\w+))?"
)
RESULT = re.compile(r"(?P<bench>[\w-]+)-\d{8}T\d{6}Z\.json")


def newest_results(folder: Path, names: list[str]) -> list[dict]:
    """The newest result of each bench that has one, in the order of `names`; one of a tree with local changes, which nobody
    can build again, only where there is no other. Other scripts store theirs there too."""
    newest: dict[str, dict] = {}
    for path in sorted(folder.glob("*.json")):
        named = RESULT.fullmatch(path.name)
        if named is None or named["bench"] not in names:
            continue
        try:
            result = json.loads(path.read_text())
            name = result["bench"]
            if name not in newest or rank(result) > rank(newest[name]):
                newest[name] = result | {"file": path.name}
        except (ValueError, KeyError, TypeError) as error:
            raise BenchError(f"`{path}` is no result of bench/run.py: {error}", "remove the file") from error
    return [newest[name] for name in names if name in newest]


def rank(result: dict) -> tuple[bool, str]:
    """Results of a commit as it is come before those with local changes, then the newest."""
    return (result["code"]["dirty"] is False, result["date"])


def render(results: list[dict]) -> str:
    """Markdown: one table per bench, with what it ran on."""
    return "\n\n".join(section(result) for result in results) if results else "No results yet."


def section(result: dict) -> str:
    """One bench."""
    num_rounds = len(result["rounds"])
    lines = [
        f"### {result['bench']}",
        "",
        f"{result['about']}. {'One round' if num_rounds == 1 else f'Medians of {num_rounds} rounds'}.",
        "",
        "| | dtrain | PyTorch | ratio | within rounds | aim |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for m in result["measures"]:
        for side in m["sides"]:
            title = m["title"] + (", synchronized batch norm" if side == "dtrain-sync-bn" else "")
            lines.append(f"| {title} | {' | '.join(cells(result, m, side))} |")
    lines += ["", provenance(result)]
    return "\n".join(lines)


def cells(result: dict, measure: dict, side: str) -> list[str]:
    """The median of each side, the ratio of these two, the median and the range of the ratios within rounds, the aim."""
    key, unit = measure["key"], measure["unit"]
    pairs = [(r[side][key], r[PEER][key]) for r in result["rounds"]]
    ours, peer = (statistics.median(figures) for figures in zip(*pairs))
    shown = [readable(ours, unit), readable(peer, unit)]
    if any(peer <= 0 for _, peer in pairs):
        return [*shown, "-", "-", told(measure, ours, None, result)]
    ratios = sorted(ours / peer for ours, peer in pairs)
    middle = statistics.median(ratios)
    rounds = f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return [*shown, f"{ours / peer:.2f}", rounds, told(measure, ours, middle, result)]


def told(measure: dict, ours: float, ratio: float | None, result: dict) -> str:
    """The aim, and whether it was missed."""
    missed = reached(measure, ours, ratio, result["machine"]) is False
    return f"{measure['aim']}, **missed**" if missed else measure["aim"]


def reached(measure: dict, ours: float, ratio: float | None, machine: dict) -> bool | None:
    """Whether a figure reaches its aim: a bound of the ratio, or a number with a unit. `None` without an aim, or where it
    is for another machine."""
    aim = AIM.fullmatch(measure["aim"])
    if aim is None or aim["feature"] is not None and not machine[aim["feature"].lower()]:
        return None
    bound = float(aim["number"].replace(",", ""))
    if aim["bound"] is not None:
        return None if ratio is None else ratio >= bound if aim["bound"] == "at least" else ratio <= bound
    value = ours / 1e6 if aim["unit"] == "MB" else ours
    return value >= bound if aim["unit"].endswith("/s") else value <= bound


def provenance(result: dict) -> str:
    """Machine, commit, date and file of a result."""
    machine, code = result["machine"], result["code"]
    features = [name for name in ("avx512", "bf16", "amx") if machine[name]]
    commit = "no commit" if code["commit"] is None else f"commit `{code['commit'][:12]}`"
    changed = " with local changes" if code["dirty"] else ""
    torch = result["rounds"][0][PEER].get("torch", "of unknown version")
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(features) or 'no avx512, bf16 or amx'}), "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, Linux {machine['kernel']}; {commit}{changed}{age(code['commit'])}; "
        f"PyTorch {torch}; {result['date'][:10]}, [{result['file']}](../bench/results/{result['file']})"
    )


def age(commit: str | None) -> str:
    """How much of what is measured has changed since, when the table is made."""
    behind = commits_behind(commit)
    if commit is None or behind == 0:
        return ""
    if behind is None:
        return ", which this history does not hold"
    return f", {behind} {'commit' if behind == 1 else 'commits'} behind"


def rewrite(page: Path, table: str) -> None:
    """Replaces what stands between the markers."""
    try:
        text = page.read_text()
        before, rest = text.split(BEGIN, 1)
        _, after = rest.split(END, 1)
    except (OSError, ValueError) as error:
        raise BenchError(f"`{page}` has no `{BEGIN}` and `{END}` to write between", "restore the page") from error
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
