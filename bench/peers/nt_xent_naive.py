"""NT-Xent as most scripts write it, with the whole N x N matrix of similarities: forward and backward on one thread.

Reports the median time per pair (N * N pairs of rows) and the memory beyond the embeddings. Prints one line of JSON.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8192, help="embeddings, two per sample (default %(default)s)")
    parser.add_argument("--dim", type=int, default=128, help="size of an embedding (default %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=3, help="the median counts (default %(default)s)")
    args = parser.parse_args()
    if args.rows < 4 or args.rows % 2 or args.dim < 1 or args.repeats < 1:
        parser.error("`--rows` must be even and at least 4, `--dim` and `--repeats` at least 1")
    torch.set_num_threads(1)
    torch.manual_seed(0)

    forward_backward(torch.randn(256, args.dim), args.temperature)
    embeddings = torch.randn(args.rows, args.dim)
    before = reset_peak_memory()
    seconds = []
    for _ in range(args.repeats):
        begin = time.perf_counter()
        loss = forward_backward(embeddings, args.temperature)
        seconds.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "ns_per_pair": statistics.median(seconds) * 1e9 / args.rows**2,
                "extra_bytes": peak_memory() - before,
                "rows": args.rows,
                "dim": args.dim,
                "loss": loss,
                "torch": torch.__version__,
            }
        )
    )


def forward_backward(embeddings: Tensor, temperature: float) -> float:
    """Loss of embeddings whose rows i and i + N/2 belong together; the gradient is computed and dropped."""
    embeddings = embeddings.detach().requires_grad_()
    z = F.normalize(embeddings)
    logits = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    loss = F.cross_entropy(logits, torch.arange(len(z)).roll(len(z) // 2))
    loss.backward()
    return loss.item()


def reset_peak_memory() -> int:
    """Lets the kernel's peak of resident memory start afresh where it can; returns the memory in use, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return status_bytes("VmRSS")
    except OSError:
        return peak_memory()


def peak_memory() -> int:
    """Peak of resident memory, in bytes."""
    try:
        return status_bytes("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def status_bytes(key: str) -> int:
    """A size of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {key} in /proc/self/status")


if __name__ == "__main__":
    main()
