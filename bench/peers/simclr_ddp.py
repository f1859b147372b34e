"""SimCLR on spoken digits with PyTorch DistributedDataParallel over gloo, as a careful user writes it.

One process per rank and one thread per process; ranks come from torchrun's variables or from Open MPI's:

    torchrun --standalone --nproc-per-node 2 simclr_ddp.py --data-root DIR
    mpirun --bind-to none --oversubscribe -n 2 python simclr_ddp.py --data-root DIR

Rank 0 prints one line of JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from digits import Recordings, Views, training_files
from sync_batch_norm import convert_sync_batch_norm
from world import MEMORY_FORMATS, endless, fail, join_world, seconds_since_exec

TEMPERATURE = 0.1
LEARNING_RATE = 1e-3


def main() -> None:
    args = arguments()
    rank, world_size = join_world()
    if args.batch_size % world_size:
        fail(f"`--batch-size {args.batch_size}` is not divisible by {world_size} ranks", "choose a multiple")
    torch.set_num_threads(1)
    torch.manual_seed(0)

    # Workers are forked before the model and gloo's threads exist: they stay small and work during the set-up.
    batches = endless_batches(args, rank, world_size)
    dist.init_process_group("gloo", rank=rank, world_size=world_size)

    encoder = Encoder()
    if args.sync_bn:
        convert_sync_batch_norm(encoder)
    encoder = encoder.to(memory_format=MEMORY_FORMATS[args.memory_format])
    # Batch-norm buffers are not used by the training step, so that they need not be sent at each step.
    model = DistributedDataParallel(
        encoder, broadcast_buffers=False, gradient_as_bucket_view=True, static_graph=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)

    step_s, losses = [], []
    views = next(batches)
    first_step_begins_s = seconds_since_exec()
    previous = time.perf_counter()
    for step in range(args.warmup + args.steps):
        if step > 0:
            views = next(batches)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            projections = model(views)
        loss = nt_xent(projections.float(), rank)
        loss.backward()
        optimizer.step()
        if step == 0:
            first_step_ends_s = seconds_since_exec()
        step_s.append(time.perf_counter() - previous)
        previous = time.perf_counter()
        losses.append(loss.detach())

    losses = torch.stack(losses)
    dist.all_reduce(losses)
    losses /= world_size
    median_step_s = statistics.median(step_s[args.warmup :])
    if rank == 0:
        print(
            json.dumps(
                {
                    "samples_per_s": args.batch_size / median_step_s,
                    "median_step_s": median_step_s,
                    "steps": args.steps,
                    "first_step_begins_s": first_step_begins_s,
                    "first_step_ends_s": first_step_ends_s,
                    "loss_first": losses[0].item(),
                    "loss_last": losses[-1].item(),
                    "step_s": [round(seconds, 4) for seconds in step_s],
                    "world_size": world_size,
                    "precision": args.precision,
                    "sync_bn": args.sync_bn,
                    "workers": args.workers,
                    "torch": torch.__version__,
                }
            ),
            flush=True,
        )
    dist.destroy_process_group()


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with the spoken digits")
    parser.add_argument("--steps", type=int, default=20, help="measured steps (default %(default)s)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them (default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="samples over all ranks (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="loader processes per rank (default %(default)s)")
    parser.add_argument("--sync-bn", action="store_true", help="batch-norm statistics over all ranks")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: autocast")
    parser.add_argument("--memory-format", choices=MEMORY_FORMATS, default="channels_last")
    args = parser.parse_args()
    if args.steps < 1 or args.warmup < 0 or args.batch_size < 1 or args.workers < 0:
        parser.error("`--steps` and `--batch-size` must be at least 1, `--warmup` and `--workers` at least 0")
    return args


def endless_batches(args: argparse.Namespace, rank: int, world_size: int) -> Iterator[Tensor]:
    """Two views of each of this rank's samples, epoch after epoch, shape (2 * samples, 1, mels, frames): all first
    views, then all second views. Workers start at once."""
    recordings = Recordings(training_files(args.data_root))
    if len(recordings) < args.batch_size:
        fail(f"{len(recordings)} recordings are fewer than `--batch-size {args.batch_size}`", "choose a smaller batch")
    views = Views()
    sampler = DistributedSampler(recordings, world_size, rank, shuffle=True, seed=0, drop_last=True)
    loader = DataLoader(
        recordings,
        batch_size=args.batch_size // world_size,
        sampler=sampler,
        num_workers=args.workers,
        collate_fn=lambda samples: views.batched(samples + samples),
        drop_last=True,
        persistent_workers=args.workers > 0,
        generator=torch.Generator().manual_seed(1 + rank),
    )
    return endless(loader, sampler)


class Encoder(nn.Module):
    """ResNet-18 with one input channel and SimCLR's projector. (samples, 1, mels, frames) to (samples, 128)."""

    def __init__(self):
        super().__init__()
        self.backbone = torchvision.models.resnet18()
        self.backbone.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.backbone.fc = nn.Identity()
        self.projector = nn.Sequential(
            nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, 128)
        )

    def forward(self, views: Tensor) -> Tensor:
        return self.projector(self.backbone(views))


class GatherRows(torch.autograd.Function):
    """Rows of all ranks, in rank order; gradients of all ranks come back summed."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        gathered = rows.new_empty(dist.get_world_size() * len(rows), rows.size(1))
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def nt_xent(projections: Tensor, rank: int) -> Tensor:
    """NT-Xent of this rank's anchors against the global batch; DDP's mean over ranks makes it the global loss."""
    z = F.normalize(projections)
    num_views = len(z)
    logits = z @ GatherRows.apply(z).T / TEMPERATURE
    anchors = torch.arange(num_views)
    logits[anchors, rank * num_views + anchors] = float("-inf")
    return F.cross_entropy(logits, rank * num_views + anchors.roll(num_views // 2))


if __name__ == "__main__":
    main()
