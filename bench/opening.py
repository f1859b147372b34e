#!/usr/bin/env python3
"""Measures how long `dtrain bench open` takes for sets of images of a gigabyte, and how much memory.

Stores the figures with commit and machine in bench/results/. The sets are written into a temporary folder first; the one
with pickled labels needs numpy and is skipped with a line where there is none.

    bench/opening.py --dir /scratch
"""

import argparse
import json
import pickle
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from harness.machine import REPOSITORY, machine
from harness.results import RESULTS, store

# Samples are written so many at a time.
BLOCK = 1 << 16
PARAMETERS = ["note_number", "velocity"]


def main() -> int:
    """Writes and opens each set, and stores the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dtrain", type=Path, default=REPOSITORY / "target/release/dtrain", help="default: %(default)s")
    add("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where the sets are written for a while")
    add("--bytes", type=int, default=10**9, help="of the IDX and the binary set; default: %(default)s")
    add("--rows", type=int, default=10**6, help="label rows of the pickle; default: %(default)s")
    add("--rounds", type=int, default=20, help="times that each is opened; default: %(default)s")
    add("--results", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    if not args.dtrain.is_file():
        print(f"error: no dtrain at `{args.dtrain}`\n\nhint: run `cargo build --release`", file=sys.stderr)
        return 2
    sets = {"idx": lambda root: write_idx(root, args.bytes), "vimh-binary": lambda root: write_binary(root, args.bytes)}
    if find_spec("numpy") is None:
        print("skipped: the pickle needs numpy", file=sys.stderr)
    else:
        sets["vimh-pickle"] = lambda root: write_pickle(root, args.rows)
    where, figures = machine(), {}
    for name, write in sets.items():
        with tempfile.TemporaryDirectory(prefix="dtrain-bench-", dir=args.dir) as folder:
            root, file = Path(folder) / "set", Path(folder) / "figures.json"
            root.mkdir()
            write(root)
            command = [str(args.dtrain), "bench", "open", str(root), "--rounds", str(args.rounds), "--json", str(file)]
            done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
            if done.returncode != 0:
                return done.returncode
            figures[name] = json.loads(file.read_text())
        found = figures[name]
        print(
            f"{name}: {found['samples']:,} samples, {found['file_bytes'] / 1e6:,.0f} MB: opened in "
            f"{found['open_s'] * 1e3:.2f} ms (first {found['first_s'] * 1e3:.2f}), {found['memory_bytes'] / 1e6:.1f} MB",
            file=sys.stderr,
        )
    about = "folder to first and last sample of each part, pixels and labels; a process for each set"
    print(store("opening", about, args.dtrain, {"figures": figures}, args.results, where))
    return 0


def blocks(num: int) -> Iterator[int]:
    """Sizes of blocks that make up `num`."""
    for begin in range(0, num, BLOCK):
        yield min(BLOCK, num - begin)


def write_idx(root: Path, num_bytes: int) -> None:
    """A training part of so many bytes of images, and a test part of ten."""
    side, image = 28, bytes(value % 251 for value in range(28 * 28))
    for part, num in (("train", num_bytes // len(image)), ("t10k", 10)):
        with open(root / f"{part}-images-idx3-ubyte", "wb") as file:
            file.write(struct.pack(">IIII", 0x803, num, side, side))
            for size in blocks(num):
                file.write(image * size)
        with open(root / f"{part}-labels-idx1-ubyte", "wb") as file:
            file.write(struct.pack(">II", 0x801, num))
            for size in blocks(num):
                file.write(bytes(index % 10 for index in range(size)))


def write_metadata(root: Path, side: int, num_train: int, num_test: int) -> None:
    """The JSON of a set of one channel with two parameters."""
    mapping = {"min": 0.0, "max": 127.0, "step": 1.0, "description": "MIDI"}
    metadata = {
        "format": "VIMH",
        "version": "2.1",
        "height": side,
        "width": side,
        "channels": 1,
        "parameter_names": PARAMETERS,
        "parameter_mappings": {name: mapping for name in PARAMETERS},
        "train_samples": num_train,
        "test_samples": num_test,
    }
    (root / "vimh_dataset_info.json").write_text(json.dumps(metadata))


def write_binary(root: Path, num_bytes: int) -> None:
    """Records of 32x32 pixels."""
    side = 32
    record = struct.pack("<HHHff", side, side, 1, -80.0, 0.0) + bytes([2, 0, 100, 1, 200])
    record += bytes(value % 251 for value in range(side * side))
    num = num_bytes // len(record)
    write_metadata(root, side, num, 10)
    for part, samples in (("train", num), ("test", 10)):
        with open(root / part, "wb") as file:
            for size in blocks(samples):
                file.write(record * size)


def write_pickle(root: Path, rows: int) -> None:
    """Small images, so that the label rows are what costs time."""
    import numpy

    side = 4
    write_metadata(root, side, rows, 10)
    for part, samples in (("train_batch", rows), ("test_batch", 10)):
        content = {
            "data": numpy.zeros((samples, side * side), dtype=numpy.uint8),
            "vimh_labels": [[2, 0, index % 256, 1, index // 256 % 256] for index in range(samples)],
            "height": side,
            "width": side,
            "channels": 1,
        }
        with open(root / part, "wb") as file:
            pickle.dump(content, file, protocol=4)


if __name__ == "__main__":
    sys.exit(main())
