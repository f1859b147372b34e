"""The table in docs/benchmarks.md, made from the newest result of each bench."""

import json
import re
from pathlib import Path

from harness.benches import PEER, readable
from harness.errors import BenchError

BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"
RESULT = re.compile(r"(?P<bench>[\w-]+)-\d{8}T\d{6}Z\.json")


def newest_results(folder: Path, names: list[str]) -> list[dict]:
    """The newest result of each bench that has one, in the order of `names`. Other scripts store theirs there too."""
    newest: dict[str, dict] = {}
    for path in sorted(folder.glob("*.json")):
        named = RESULT.fullmatch(path.name)
        if named is None or named["bench"] not in names:
            continue
        try:
            result = json.loads(path.read_text())
            name, date = result["bench"], result["date"]
        except (ValueError, KeyError, TypeError) as error:
            raise BenchError(f"`{path}` is no result of bench/run.py: {error}", "remove the file") from error
        if name not in newest or date > newest[name]["date"]:
            newest[name] = result | {"file": path.name}
    return [newest[name] for name in names if name in newest]


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
        "| | dtrain | PyTorch | ratio | aim |",
        "|---|---:|---:|---:|---|",
    ]
    for m in result["measures"]:
        peer = readable(result["medians"][PEER][m["key"]], m["unit"])
        for side in m["sides"]:
            title = m["title"] + (", synchronized batch norm" if side == "dtrain-sync-bn" else "")
            ours = readable(result["medians"][side][m["key"]], m["unit"])
            ratio = result["ratios"][side].get(m["key"])
            ratio = "-" if ratio is None else f"{ratio:.2f}"
            lines.append(f"| {title} | {ours} | {peer} | {ratio} | {m['aim']} |")
    lines += ["", provenance(result)]
    return "\n".join(lines)


def provenance(result: dict) -> str:
    """Machine, commit, date and file of a result."""
    machine, code = result["machine"], result["code"]
    features = [name for name in ("avx512", "bf16", "amx") if machine[name]]
    commit = "no commit" if code["commit"] is None else f"commit `{code['commit'][:12]}`"
    changed = " with local changes" if code["dirty"] else ""
    torch = result["rounds"][0][PEER].get("torch", "of unknown version")
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(features) or 'no avx512, bf16 or amx'}), "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, Linux {machine['kernel']}; {commit}{changed}; "
        f"PyTorch {torch}; {result['date'][:10]}, [{result['file']}](../bench/results/{result['file']})"
    )


def rewrite(page: Path, table: str) -> None:
    """Replaces what stands between the markers."""
    try:
        text = page.read_text()
        before, rest = text.split(BEGIN, 1)
        _, after = rest.split(END, 1)
    except (OSError, ValueError) as error:
        raise BenchError(f"`{page}` has no `{BEGIN}` and `{END}` to write between", "restore the page") from error
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
