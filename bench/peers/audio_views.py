"""Augmented log-mel views per second on one core with torchaudio, from decoded samples in memory.

Counts both ways of making views (one clip at a time; batches of several sizes) and reports the faster one.
Decoding is measured apart. Prints one line of JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import torch
import torchaudio

from digits import NUM_FRAMES, NUM_MELS, Views, decode, training_files

BATCH_SIZES = (16, 64, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with the spoken digits")
    parser.add_argument("--seconds", type=float, default=3.0, help="time per variant (default %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    files = training_files(args.data_root)
    recordings = [decode(path) for path in files]
    decoded_files_per_s = rate(lambda path: decode(path) is not None, cycle(files), 1, args.seconds)

    views = Views()
    if views.single(recordings[0]).shape != (1, NUM_MELS, NUM_FRAMES):
        raise RuntimeError("a view has an unexpected shape")
    single = rate(views.single, cycle(recordings), 1, args.seconds)
    batched = {}
    for size in BATCH_SIZES:
        source = cycle(recordings)
        batches = iter(lambda: list(islice(source, size)), None)
        batched[size] = rate(views.batched, batches, size, args.seconds)

    print(
        json.dumps(
            {
                "views_per_s_per_core": max(single, *batched.values()),
                "views_per_s_single": single,
                "views_per_s_batched": batched,
                "decoded_files_per_s": decoded_files_per_s,
                "torch": torch.__version__,
                "torchaudio": torchaudio.__version__,
            }
        )
    )


def rate(make: Callable, inputs, per_call: int, seconds: float) -> float:
    """Items per second of calling `make` for about `seconds`, after a tenth of that as warm-up."""
    for limit in (seconds / 10.0, seconds):
        num, begin = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < limit:
            make(next(inputs))
            num += per_call
    return num / elapsed


if __name__ == "__main__":
    with torch.inference_mode():
        main()
