"""SimCLR steps on one GPU with PyTorch, as a careful user writes them: channels_last, autocast to bfloat16, fused AdamW,
TF32 where fp32 is left, cuDNN's fastest algorithms, no waiting for the device within the loop.

Views are synthetic and on the device, a few batches in turn. Prints one line of JSON.

    simclr_gpu.py --model resnet18 --stem small --shape 3x32x32 --batch-size 1024 [--compile]
"""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

TEMPERATURE = 0.1
LEARNING_RATE = 1e-3
NUM_BATCHES = 4
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


def main() -> None:
    args = arguments()
    device = torch.device(args.device)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")

    channels, height, width = args.shape
    encoder = Encoder(args.model, args.stem, channels).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE, fused=True)
    forward = torch.compile(encoder) if args.compile else encoder
    loss_of = torch.compile(nt_xent) if args.compile else nt_xent
    dtype = PRECISIONS[args.precision]
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    batches = [
        torch.randn(2 * args.batch_size, channels, height, width, device=device).to(memory_format=torch.channels_last)
        for _ in range(NUM_BATCHES)
    ]

    def step(number: int) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            projections = forward(batches[number % NUM_BATCHES])
        loss = loss_of(projections.float())
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    for number in range(args.warmup):
        loss = step(number)
    clock = Clock(device)
    clock.mark()
    for number in range(args.steps):
        loss = step(number)
        clock.mark()
    seconds = clock.seconds()
    median_step_s = statistics.median(seconds)
    print(
        json.dumps(
            {
                "samples_per_s": args.batch_size / median_step_s,
                "step_s": median_step_s,
                "peak_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
                "loss_last": loss.item(),
                "steps": args.steps,
                "compiled": args.compile,
                "precision": args.precision,
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
            }
        ),
        flush=True,
    )


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["resnet18", "resnet34", "resnet50"], default="resnet18")
    parser.add_argument("--stem", choices=["imagenet", "small"], default="imagenet", help="small: 3x3, no pooling")
    parser.add_argument("--shape", type=shape, default=(3, 32, 32), help="CxHxW of a view (default 3x32x32)")
    parser.add_argument("--batch-size", type=int, default=256, help="samples, each with two views (default %(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="measured steps (default %(default)s)")
    parser.add_argument("--warmup", type=int, default=10, help="steps before them (default %(default)s)")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="bf16")
    parser.add_argument("--compile", action="store_true", help="torch.compile for network and loss")
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    args = parser.parse_args()
    if args.steps < 1 or args.warmup < 1 or args.batch_size < 1:
        parser.error("`--steps`, `--warmup` and `--batch-size` must be at least 1")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("error: torch sees no GPU\n\nhint: use `--device cpu`", file=sys.stderr)
        sys.exit(3)
    return args


def shape(text: str) -> tuple[int, int, int]:
    """`3x32x32`."""
    sizes = tuple(int(size) for size in text.split("x"))
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is not of the form CxHxW")
    return sizes


class Encoder(nn.Module):
    """A ResNet and SimCLR's projector. (views, C, H, W) to (views, 128)."""

    def __init__(self, model: str, stem: str, channels: int):
        super().__init__()
        self.backbone = getattr(torchvision.models, model)()
        kernel, stride = (3, 1) if stem == "small" else (7, 2)
        self.backbone.conv1 = nn.Conv2d(channels, 64, kernel, stride, kernel // 2, bias=False)
        nn.init.kaiming_normal_(self.backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        if stem == "small":
            self.backbone.maxpool = nn.Identity()
        num_features = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        self.projector = nn.Sequential(
            nn.Linear(num_features, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, 128)
        )

    def forward(self, views: Tensor) -> Tensor:
        return self.projector(self.backbone(views))


def nt_xent(projections: Tensor) -> Tensor:
    """NT-Xent; row i and row i + N/2 are views of one sample."""
    z = F.normalize(projections)
    logits = z @ z.T / TEMPERATURE
    rows = torch.arange(len(z), device=z.device)
    logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), float("-inf"))
    return F.cross_entropy(logits, (rows + len(z) // 2) % len(z))


class Clock:
    """Seconds between marks: events on a GPU, which cost the loop nothing."""

    def __init__(self, device: torch.device):
        self.device = device
        self.marks: list = []

    def mark(self) -> None:
        event = torch.Event(self.device, enable_timing=True) if self.device.type == "cuda" else HostEvent()
        event.record()
        self.marks.append(event)

    def seconds(self) -> list[float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return [begin.elapsed_time(end) / 1e3 for begin, end in zip(self.marks, self.marks[1:])]


class HostEvent:
    """The clock of a CPU, which has done each operation when it returns."""

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, later: "HostEvent") -> float:
        return (later.at - self.at) * 1e3


if __name__ == "__main__":
    main()
