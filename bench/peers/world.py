"""What every peer needs: its rank, its batches epoch after epoch, and its age."""

import os
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch
from torch.utils.data import DataLoader, DistributedSampler

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def fail(what: str, hint: str) -> None:
    """Ends the program with a message and the next step."""
    sys.exit(f"error: {what}\n\nhint: {hint}")


def join_world() -> tuple[int, int]:
    """Rank and world size as torchrun or Open MPI gives them; one rank without either."""
    rank = int(os.environ.get("RANK", os.environ.get("OMPI_COMM_WORLD_RANK", 0)))
    world_size = int(os.environ.get("WORLD_SIZE", os.environ.get("OMPI_COMM_WORLD_SIZE", 1)))
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
    return rank, world_size


def endless(loader: DataLoader, sampler: DistributedSampler) -> Iterator:
    """Batches of `loader`, epoch after epoch. Workers start at once, and the first epoch is number 0."""

    def batches(epoch_batches: Iterator) -> Iterator:
        for epoch in count(1):
            yield from epoch_batches
            sampler.set_epoch(epoch)
            epoch_batches = iter(loader)

    return batches(iter(loader))


def seconds_since_exec() -> float:
    """Seconds since the kernel started this process, to a hundredth."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
