#!/usr/bin/env python3
"""Turns finished runs into results: accuracies with command, seed, time, commit and machine in bench/results/.

    bench/accuracy.py runs/supcon_fsdd/2026-11-21_10-00-00 ...   one result for each experiment, of all its runs
    bench/accuracy.py --about "official split" RUN...             with a word that tells results apart

A run tells by itself what was typed, with which seed, on how many ranks and for how long. The commit is that of this
checkout: take the result before changing anything, with the program that trained.
"""

import argparse
import json
import re
import shlex
import statistics
import sys
from pathlib import Path

from harness.errors import BenchError
from harness.machine import REPOSITORY, machine
from harness.results import RESULTS, store

# What a table of accuracies is made of, and not how fast it went.
KEPT = re.compile(r"(train|val|test)(_\w+)?/")
# Settings that say where things are.
PLACES = re.compile(r"(?P<key>data\.root|init_from|run\.dir|run\.root|checkpoint\.local_dir)=.*")


def main() -> int:
    """Stores one result for each experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    add("--about", default="", help="what the runs have in common, beside the experiment")
    add("--dtrain", type=Path, default=REPOSITORY / "target/release/dtrain", help="what trained; default: %(default)s")
    add("--results", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    try:
        if not args.dtrain.is_file():
            raise BenchError(f"no dtrain at `{args.dtrain}`", "give the program that trained: `--dtrain PATH`")
        experiments: dict[str, list[dict]] = {}
        for path in args.runs:
            run = accuracies(path)
            experiments.setdefault(run["experiment"], []).append(run)
        for name, runs in experiments.items():
            figures = {"runs": runs, "medians": medians(runs)}
            print(store(f"accuracy-{name}", args.about, args.dtrain, figures, args.results, machine()))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def accuracies(path: Path) -> dict:
    """What one run reached, and how."""
    result = read_json(path / "result.json")
    environment = read_json(path / "environment.json")
    reason = result.get("stop_reason")
    if reason not in ("finished", "early_stopped"):
        raise BenchError(f"the run in `{path}` has not finished: {reason}", f"`dtrain resume {path}` goes on with it")
    words = lines(path / "overrides.txt")
    config = "\n".join(lines(path / "config.yaml"))
    return {
        "experiment": top_level(config, "experiment", path),
        "seed": int(top_level(config, "seed", path)),
        "command": command(words, result["world_size"]),
        "started": environment["started"],
        "wall_s": result["wall_s"],
        "world_size": result["world_size"],
        "steps": result["step"],
        "stop_reason": reason,
        "trained_on": {key: environment.get(key) for key in ("dtrain", "git_revision", "torch", "cpu", "num_cores", "os")},
        "metrics": {name: value for name, value in result["metrics"].items() if KEPT.match(name)},
    }


def command(words: list[str], world_size: int) -> str:
    """What was typed, without the paths of this machine."""
    shown = [PLACES.sub(lambda place: f"{place['key']}=PATH", word) for word in words]
    start = [] if world_size == 1 else ["mpirun", "-n", str(world_size), "--bind-to", "none"]
    return " ".join(shlex.quote(word) for word in [*start, "dtrain", *shown])


def medians(runs: list[dict]) -> dict[str, float]:
    """The median over runs of every metric that all of them have as a number."""
    common = set.intersection(*(set(run["metrics"]) for run in runs))
    columns = {name: [run["metrics"][name] for run in runs] for name in sorted(common)}
    return {
        name: statistics.median(values)
        for name, values in columns.items()
        if all(isinstance(value, (int, float)) for value in values)
    }


def top_level(config: str, key: str, path: Path) -> str:
    """A word at the top of `config.yaml`, which the program writes itself: one `key: word` a line."""
    found = re.search(rf"^{key}: '?([\w./-]+)'?$", config, re.MULTILINE)
    if found is None:
        raise BenchError(f"`{path}/config.yaml` has no `{key}`", "give a run directory of dtrain")
    return found[1]


def read_json(path: Path) -> dict:
    """A file that a run wrote."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchError(f"`{path}` cannot be read: {error}", "give run directories that have ended") from error


def lines(path: Path) -> list[str]:
    """The lines of a file that a run wrote."""
    try:
        return path.read_text().splitlines()
    except OSError as error:
        raise BenchError(f"`{path}` cannot be read: {error}", "give run directories that have ended") from error


if __name__ == "__main__":
    sys.exit(main())
