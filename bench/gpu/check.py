#!/usr/bin/env python3
"""Checks the GPU path of dtrain on this machine and writes what it saw after every check.

Needs no PyTorch but for the part `throughput`. scripts/gpu_check.sh calls it; docs/gpu.md says what each part proves.
"""

import argparse
import dataclasses
import datetime
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from gpu import place  # noqa: E402
from gpu.checks import FAILED, NOT_RUN, OK, TIMEOUT, Check, Outcome, prove  # noqa: E402
from gpu.parts import PARTS  # noqa: E402
from harness.errors import BenchError  # noqa: E402

PART_SECS = 480
# A check that would have less time than this is not started.
LEAST_SECS = 5


def main() -> int:
    args = arguments()
    signal.signal(signal.SIGTERM, interrupted)
    with tempfile.TemporaryDirectory(prefix="dtrain-check-", ignore_cleanup_errors=True) as work:
        try:
            site = place.find(Path(work), args.cpu)
            if not args.cpu and not site.gpus:
                raise BenchError("this machine shows no GPU", "start on a machine with a GPU and its driver, or use `--cpu`")
            report = Report(args.out or default_out(), site, args.part or list(PARTS))
        except BenchError as error:
            print(error, file=sys.stderr)
            return 3
        try:
            for name in args.part or list(PARTS):
                run_part(name, report)
        except KeyboardInterrupt:
            print("interrupted; what was seen is stored", file=sys.stderr)
            report.write()
            return 130
        report.print_summary()
        return 0 if report.passed() else 1


def interrupted(*_) -> None:
    """SIGTERM ends the check as Ctrl-C does: children first."""
    raise KeyboardInterrupt


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description="Checks the GPU path of dtrain on this machine.")
    parser.add_argument(
        "--part", action="append", choices=list(PARTS), help="only this part; may be given again (default: all)"
    )
    parser.add_argument("--out", type=Path, help="results as JSON (default: bench/results/gpu-DATE.json)")
    parser.add_argument("--cpu", action="store_true", help="the same on the CPU, where that makes sense")
    return parser.parse_args()


def default_out() -> Path:
    """A file of its own for every run."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return place.ROOT / f"bench/results/gpu-{now:%Y%m%dT%H%M%SZ}.json"


def not_run(part: str, check: Check, reason: str) -> dict:
    """A check before its turn, or without one."""
    return {"part": part, "check": check.name, "aim": check.aim, "status": NOT_RUN, "message": reason}


class Report:
    """All outcomes, on the disk after each of them."""

    def __init__(self, file: Path, site: place.Site, parts: list[str]):
        self.file = file
        self.site = site
        date = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        self.result = {
            "bench": "gpu",
            "date": date.isoformat(),
            "device": "cpu" if site.cpu else "cuda",
            **site.about(),
            "checks": [],
        }
        for name, checks in PARTS.items():
            here = checks(site)
            reason = "waits for its turn" if name in parts else "its part was not asked for"
            self.result["checks"] += [not_run(name, check, reason) for check in here]
            elsewhere = checks(dataclasses.replace(site, cpu=False)) if site.cpu else []
            names = {check.name for check in here}
            self.result["checks"] += [not_run(name, check, "needs a GPU") for check in elsewhere if check.name not in names]
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self.write()
        except OSError as error:
            raise BenchError(f"`{file}` cannot be written: {error.strerror}", "give another file with `--out`") from error

    def add(self, part: str, name: str, outcome: Outcome) -> None:
        """Records an outcome and prints its line."""
        for entry in self.result["checks"]:
            if (entry["part"], entry["check"]) == (part, name):
                entry |= {"status": outcome.status, "message": outcome.message, "wall_secs": round(outcome.wall_secs, 1)}
                entry["figures"] = outcome.figures
        self.write()
        print(f"{part:<11} {name:<26} {outcome.status:<8} {outcome.wall_secs:6.1f} s  {outcome.message}", flush=True)

    def write(self) -> None:
        """Replaces the file at once: a reader never sees half of it."""
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps(self.result, indent=1) + "\n")
        partial.replace(self.file)

    def passed(self) -> bool:
        """Whether nothing that ran went wrong, and something ran."""
        seen = [entry["status"] for entry in self.result["checks"]]
        return OK in seen and FAILED not in seen and TIMEOUT not in seen

    def print_summary(self) -> None:
        """What was not run is part of the result."""
        entries = self.result["checks"]
        counts = {status: sum(entry["status"] == status for entry in entries) for status in (OK, FAILED, TIMEOUT, NOT_RUN)}
        print()
        for entry in entries:
            if entry["status"] == NOT_RUN:
                print(f"{entry['part']:<11} {entry['check']:<26} not run: {entry['message']}")
        print(f"{', '.join(f'{count} {status}' for status, count in counts.items())}; {self.file}")


def run_part(name: str, report: Report) -> None:
    """All checks of a part, within its time."""
    begin = time.monotonic()
    for check in PARTS[name](report.site):
        left = PART_SECS - (time.monotonic() - begin)
        if left < LEAST_SECS:
            report.add(name, check.name, Outcome(NOT_RUN, f"the {PART_SECS} s of its part are over"))
            continue
        report.add(name, check.name, prove(check, report.site, left))


if __name__ == "__main__":
    sys.exit(main())
