"""SimCLR on spoken digits with PyTorch DistributedDataParallel over gloo, as a careful user writes it.

One process per rank and one thread per process; ranks come from torchrun's variables or from Open MPI's:

    torchrun --standalone --nproc-per-node 2 simclr_ddp.py --data-root DIR
    mpirun --bind-to none --oversubscribe -n 2 python simclr_ddp.py --data-root DIR

Rank 0 prints one line of JSON.
"""

import argparse
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
from errors import fail
from sync_batch_norm import convert_sync_batch_norm
from training import MEMORY_FORMATS, add_arguments, autocast, checked, endless, join_world, report_steps

TEMPERATURE = 0.1
LEARNING_RATE = 1e-3


def main() -> None:
    args = arguments()
    rank, world_size = join_world(args.batch_size)

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

    def loss_of(views: Tensor) -> Tensor:
        with autocast(args):
            projections = model(views)
        return nt_xent(projections.float(), rank)

    report_steps(args, batches, loss_of, optimizer, sync_bn=args.sync_bn)
    dist.destroy_process_group()


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with the spoken digits")
    add_arguments(parser, steps=20, warmup=3, workers=1)
    parser.add_argument("--sync-bn", action="store_true", help="batch-norm statistics over all ranks")
    return checked(parser)


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
