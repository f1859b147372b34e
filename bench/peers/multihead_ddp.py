"""Multi-head MNIST with PyTorch DistributedDataParallel over gloo and a DataLoader.

One process per rank and one thread per process; ranks come from torchrun's variables or from Open MPI's:

    mpirun --bind-to none --oversubscribe -n 2 python multihead_ddp.py --data-root DIR

Rank 0 prints one line of JSON.
"""

import argparse
import gzip
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
import torchvision.transforms as T
from PIL import Image
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from errors import fail
from training import MEMORY_FORMATS, add_arguments, autocast, checked, endless, join_world, report_steps

LEARNING_RATE = 2e-3
MEAN, STD = 0.5, 0.5
NUM_TRAIN = 55_000
# Heads in the order of the labels: classes, and a class for each digit.
HEADS = {
    "digit": (10, list(range(10))),
    "thickness": (5, [2, 1, 3, 3, 2, 3, 2, 1, 4, 3]),
    "smoothness": (3, [2, 0, 1, 1, 0, 1, 2, 0, 2, 2]),
}
LOSS_WEIGHTS = {"digit": 1.0, "thickness": 0.5, "smoothness": 0.5}


def main() -> None:
    args = arguments()
    rank, world_size = join_world(args.batch_size)

    # Workers are forked before the model and gloo's threads exist: they stay small and work during the set-up.
    sampler, loader = loading(args, rank, world_size)
    batches = endless(loader, sampler)
    dist.init_process_group("gloo", rank=rank, world_size=world_size)

    network = MultiheadCnn().to(memory_format=MEMORY_FORMATS[args.memory_format])
    if args.plain:
        model = DistributedDataParallel(network)
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    else:
        # Batch-norm buffers are not used by the training step, so that they need not be sent at each step.
        model = DistributedDataParallel(
            network, broadcast_buffers=False, gradient_as_bucket_view=True, static_graph=True
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        with autocast(args):
            logits = model(images)
        return multihead_loss(logits, labels)

    report_steps(args, batches, loss_of, optimizer, input=args.input)
    dist.destroy_process_group()


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with the files of MNIST")
    add_arguments(parser, steps=200, warmup=10, workers=0)
    parser.add_argument(
        "--input",
        choices=["images", "batches"],
        default="batches",
        help="images: PIL image, ToTensor, Normalize for each sample, as torchvision.datasets.MNIST has it; "
        "batches: a tensor operation for a batch (default)",
    )
    parser.add_argument("--plain", action="store_true", help="DistributedDataParallel and Adam with no argument")
    return checked(parser)


def loading(args: argparse.Namespace, rank: int, world_size: int) -> tuple[DistributedSampler, DataLoader]:
    """Batches of images, shape (samples, 1, 28, 28), and labels, shape (samples, heads)."""
    images = idx(args.data_root, "train-images-idx3-ubyte")[:NUM_TRAIN]
    digits = idx(args.data_root, "train-labels-idx1-ubyte")[:NUM_TRAIN].long()
    labels = torch.stack([torch.tensor(classes)[digits] for _, classes in HEADS.values()], dim=1)
    dataset = Images(images, labels) if args.input == "images" else Batches(images, labels)
    sampler = DistributedSampler(dataset, world_size, rank, shuffle=True, seed=0, drop_last=True)
    loader = DataLoader(
        dataset,
        batch_size=args.batch_size // world_size,
        sampler=sampler,
        num_workers=args.workers,
        collate_fn=None if args.input == "images" else (lambda batch: batch),
        drop_last=True,
        persistent_workers=args.workers > 0,
        generator=torch.Generator().manual_seed(1 + rank),
    )
    return sampler, loader


def idx(root: Path, name: str) -> Tensor:
    """Bytes of an IDX file, plain or gz, in the shape that its header has."""
    plain, packed = root / name, root / f"{name}.gz"
    try:
        data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError) as error:
        fail(f"cannot read `{plain}` or `{packed}`: {error}", "point `--data-root` at the files of MNIST")
    num_axes = data[3] if len(data) > 4 else 0
    if data[:3] != b"\0\0\x08" or num_axes not in (1, 3) or len(data) < 4 + 4 * num_axes:
        fail(f"`{name}` is no IDX file of bytes", "fetch the data set again")
    shape = [int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(num_axes)]
    values = torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=4 + 4 * num_axes)
    if values.numel() != torch.Size(shape).numel():
        fail(f"`{name}` has {values.numel()} bytes for a shape of {shape}", "fetch the data set again")
    return values.reshape(shape)


class Images(Dataset):
    """One sample at a time, as torchvision.datasets.MNIST and its usual transforms."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels
        self.transform = T.Compose([T.ToTensor(), T.Normalize((MEAN,), (STD,))])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(Image.fromarray(self.images[index].numpy(), mode="L")), self.labels[index]


class Batches(Dataset):
    """A batch at a time."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        rows = torch.tensor(indices)
        images = self.images[rows].unsqueeze(1).float().mul_(1 / (255 * STD)).sub_(MEAN / STD)
        return images, self.labels[rows]


class MultiheadCnn(nn.Module):
    """The network of 422 thousand parameters: (samples, 1, 28, 28) to logits of each head."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(7),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(0.25),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(128, classes) for name, (classes, _) in HEADS.items()})

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.features(images)
        return [head(features) for head in self.heads.values()]


def multihead_loss(logits: list[Tensor], labels: Tensor) -> Tensor:
    """Cross-entropy of each head, weighted."""
    terms = zip(HEADS, logits, labels.unbind(1))
    return sum(LOSS_WEIGHTS[name] * F.cross_entropy(own.float(), targets) for name, own, targets in terms)


if __name__ == "__main__":
    main()
