"""The device computes what the CPU computes in 64 bits: `dtrain verify device`, one precision after the other."""

from gpu.checks import FAILED, OK, Bench, Check, Outcome, ended_well, read_json
from gpu.place import Site

PRECISIONS = {
    "fp32": "every loss, network, method and optimizer, forward and backward",
    "tf32": "the same with products rounded to 10 bits",
    "bf16": "the same under autocast to bfloat16",
    "fp16": "the same under autocast to 16-bit floats, with a loss scale",
}


def checks(site: Site) -> list[Check]:
    """One check per precision; a CPU has no TF32, and 16-bit floats only by emulation."""
    names = ["fp32", "bf16"] if site.cpu else list(PRECISIONS)
    checks = [Check(name, PRECISIONS[name], 280, lambda bench, name=name: parity(bench, name)) for name in names]
    if (site.root / "bin/trainer_tests").is_file() and not site.cpu:
        checks.append(Check("unit tests", "the trainer's own tests on this machine's libtorch", 240, unit_tests))
    return checks


def parity(bench: Bench, precision: str) -> Outcome:
    """Exit code 0, and figures to look at."""
    file = bench.folder / "parity.json"
    words = ["--device", bench.device(), "--precision", precision, "--json", file]
    words += ["--quick"] if bench.site.cpu else []
    ended = bench.dtrain("verify", "device", *words)
    figures = read_json(file)
    rows = figures.get("rows", [])
    if not rows:
        return ended_well(ended) or Outcome(FAILED, "no comparison was made")
    beyond = [row for row in rows if not row["passed"]]
    if beyond or ended.code != 0:
        worst = max(beyond, key=lambda row: excess(row), default=None)
        text = f"{worst['check']}, {worst['quantity']}: {worst['error']} > {worst['tolerance']:.1e}" if worst else ""
        return Outcome(FAILED, f"{len(beyond)} of {len(rows)} beyond tolerance; {text}", figures)
    nearest = max((row for row in rows if row["tolerance"] > 0), key=excess)
    text = f"nearest to its limit: {nearest['check']}, {nearest['quantity']} {nearest['error']:.1e}"
    return Outcome(OK, f"{len(rows)} comparisons; {text}", figures)


def excess(row: dict) -> float:
    """Error as a part of what is allowed; what is not finite is written as null."""
    if row["error"] is None:
        return float("inf")
    return row["error"] / row["tolerance"] if row["tolerance"] > 0 else row["error"]


def unit_tests(bench: Bench) -> Outcome:
    """As `cargo test` runs them."""
    ended = bench.run([bench.site.root / "bin/trainer_tests", "--quiet", "--test-threads=4"])
    summary = next((line for line in reversed(ended.stdout.splitlines()) if line.startswith("test result:")), "")
    failed = [line.strip() for line in ended.stdout.splitlines() if line.startswith("    ")]
    figures = {"failed": sorted(set(failed))} if ended.code != 0 else {}
    return Outcome(OK if ended.code == 0 else FAILED, summary or ended.tail(1), figures)
