#!/usr/bin/env python3
"""Measures how `dtrain bench checkpoint` saves ResNet-50 with AdamW on the disk of a folder, and stores the figures with
commit and machine in bench/results/.

    bench/checkpoint.py --dir /scratch --rounds 7
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.machine import REPOSITORY, commit, file_sha256, machine


def main() -> int:
    """Runs the bench once and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtrain", type=Path, default=REPOSITORY / "target/release/dtrain", help="default: %(default)s")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="folder on the disk; default: the current one")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "bench/results", help="default: %(default)s")
    parser.add_argument("settings", nargs="*", help="settings of dtrain, such as trainer.threads=1")
    args = parser.parse_args()
    if not args.dtrain.is_file():
        print(f"error: no dtrain at `{args.dtrain}`\n\nhint: run `cargo build --release`", file=sys.stderr)
        return 2
    where = machine()
    with tempfile.TemporaryDirectory(prefix="dtrain-bench-") as folder:
        file = Path(folder) / "figures.json"
        options = ["--dir", str(args.dir), "--rounds", str(args.rounds), "--json", str(file)]
        done = subprocess.run([str(args.dtrain), "bench", "checkpoint", *options, *args.settings], check=False)
        if done.returncode != 0:
            return done.returncode
        figures = json.loads(file.read_text())
    date = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    result = {
        "bench": "checkpoint",
        "about": "asynchronous and direct checkpoints beside a plain write and fsync of as many bytes, in turn",
        "date": date.isoformat(),
        "code": {**commit(), "dtrain_sha256": file_sha256(args.dtrain)},
        "machine": {**where, "file_system": file_system(args.dir)},
        "command": " ".join(["dtrain bench checkpoint --rounds", str(args.rounds), *args.settings]),
        "figures": figures,
    }
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / f"checkpoint-{date:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path)
    return 0


def file_system(folder: Path) -> str | None:
    """Type of the file system that holds a folder."""
    done = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main())
