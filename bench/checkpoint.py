#!/usr/bin/env python3
"""Measures how `dtrain bench checkpoint` saves ResNet-50 with AdamW on the disk of a folder, and stores the figures with
commit and machine in bench/results/.

    bench/checkpoint.py --dir /scratch --rounds 7
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.machine import REPOSITORY, machine
from harness.results import RESULTS, store


def main() -> int:
    """Runs the bench once and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtrain", type=Path, default=REPOSITORY / "target/release/dtrain", help="default: %(default)s")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="folder on the disk; default: the current one")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("settings", nargs="*", help="settings of dtrain, such as trainer.threads=1")
    args = parser.parse_args()
    if not args.dtrain.is_file():
        print(f"error: no dtrain at `{args.dtrain}`\n\nhint: run `cargo build --release`", file=sys.stderr)
        return 2
    where = {**machine(), "file_system": file_system(args.dir)}
    with tempfile.TemporaryDirectory(prefix="dtrain-bench-") as folder:
        file = Path(folder) / "figures.json"
        options = ["--dir", str(args.dir), "--rounds", str(args.rounds), "--json", str(file)]
        done = subprocess.run([str(args.dtrain), "bench", "checkpoint", *options, *args.settings], check=False)
        if done.returncode != 0:
            return done.returncode
        figures = json.loads(file.read_text())
    about = "asynchronous and direct checkpoints beside a plain write and fsync of as many bytes, in turn"
    command = " ".join(["dtrain bench checkpoint --rounds", str(args.rounds), *args.settings])
    result = {"command": command, "figures": figures}
    print(store("checkpoint", about, args.dtrain, result, args.results, where))
    return 0


def file_system(folder: Path) -> str | None:
    """Type of the file system that holds a folder."""
    done = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main())
