"""What the peers that train share: their command line, ranks, batches epoch after epoch, and timed steps."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from errors import fail

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def add_arguments(parser: argparse.ArgumentParser, steps: int, warmup: int, workers: int) -> None:
    """Options of every peer, with these defaults."""
    add = parser.add_argument
    add("--steps", type=int, default=steps, help="measured steps (default %(default)s)")
    add("--warmup", type=int, default=warmup, help="steps before them (default %(default)s)")
    add("--batch-size", type=int, default=128, help="samples over all ranks (default %(default)s)")
    add("--workers", type=int, default=workers, help="loader processes per rank (default %(default)s)")
    add("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: autocast")
    add("--memory-format", choices=MEMORY_FORMATS, default="channels_last")


def checked(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, with numbers that make sense."""
    args = parser.parse_args()
    if args.steps < 1 or args.warmup < 0 or args.batch_size < 1 or args.workers < 0:
        parser.error("`--steps` and `--batch-size` must be at least 1, `--warmup` and `--workers` at least 0")
    return args


def join_world(batch_size: int) -> tuple[int, int]:
    """Rank and world size as torchrun or Open MPI gives them; one rank without either. One thread a rank."""
    rank = int(os.environ.get("RANK", os.environ.get("OMPI_COMM_WORLD_RANK", 0)))
    world_size = int(os.environ.get("WORLD_SIZE", os.environ.get("OMPI_COMM_WORLD_SIZE", 1)))
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
    if batch_size % world_size:
        fail(f"`--batch-size {batch_size}` is not divisible by {world_size} ranks", "choose a multiple")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return rank, world_size


def endless(loader: DataLoader, sampler: DistributedSampler) -> Iterator:
    """Batches of `loader`, epoch after epoch. Workers start at once, and the first epoch is number 0."""

    def batches(epoch_batches: Iterator) -> Iterator:
        for epoch in count(1):
            yield from epoch_batches
            sampler.set_epoch(epoch)
            epoch_batches = iter(loader)

    return batches(iter(loader))


def report_steps(
    args: argparse.Namespace,
    batches: Iterator,
    loss_of: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    **more: object,
) -> None:
    """Trains with `loss_of(batch)`; rank 0 prints a line of JSON.

    A step lasts from the end of the one before to its own end.
    """
    step_s, losses = [], []
    batch = next(batches)
    first_step_begins_s = seconds_since_exec()
    previous = time.perf_counter()
    for step in range(args.warmup + args.steps):
        if step > 0:
            batch = next(batches)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(batch)
        loss.backward()
        optimizer.step()
        if step == 0:
            first_step_ends_s = seconds_since_exec()
        step_s.append(time.perf_counter() - previous)
        previous = time.perf_counter()
        losses.append(loss.detach())

    losses = torch.stack(losses)
    dist.all_reduce(losses)
    losses /= dist.get_world_size()
    if dist.get_rank() != 0:
        return
    median_step_s = statistics.median(step_s[args.warmup :])
    figures = {
        "samples_per_s": args.batch_size / median_step_s,
        "median_step_s": median_step_s,
        "steps": args.steps,
        "first_step_begins_s": first_step_begins_s,
        "first_step_ends_s": first_step_ends_s,
        "loss_first": losses[0].item(),
        "loss_last": losses[-1].item(),
        "step_s": [round(seconds, 4) for seconds in step_s],
        "world_size": dist.get_world_size(),
        "precision": args.precision,
        "workers": args.workers,
        "torch": torch.__version__,
    }
    print(json.dumps({**figures, **more}), flush=True)


def autocast(args: argparse.Namespace) -> torch.autocast:
    """bfloat16 where it was asked for."""
    return torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16")


def seconds_since_exec() -> float:
    """Seconds since the kernel started this process, to a hundredth."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
