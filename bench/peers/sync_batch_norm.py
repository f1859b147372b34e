"""Batch normalization over the samples of all ranks on CPUs, where torch.nn.SyncBatchNorm takes GPU tensors only.

One differentiable all-reduce per layer carries sums, sums of squares and the count.
"""

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class _SyncBatchNorm:
    """Mixed in before a batch-norm class: same parameters and buffers, statistics of all ranks in training."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        values = x.float()
        count = values.new_tensor([values.numel() / values.size(1)])
        totals = all_reduce(torch.cat([values.sum(dims), values.square().sum(dims), count]))
        mean, square = totals[:-1].div(totals[-1]).chunk(2)
        variance = (square - mean.square()).clamp_min(0.0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            unbiased = variance * (totals[-1] / (totals[-1] - 1.0))
            self.running_var.lerp_(unbiased, self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (values * scale.view(shape) + (self.bias - mean * scale).view(shape)).to(x.dtype)


class SyncBatchNorm1d(_SyncBatchNorm, nn.BatchNorm1d):
    """Inputs (num_samples, num_channels)."""


class SyncBatchNorm2d(_SyncBatchNorm, nn.BatchNorm2d):
    """Inputs (num_samples, num_channels, height, width)."""


def convert_sync_batch_norm(module: nn.Module) -> None:
    """Makes every batch norm in `module` a synchronized one."""
    classes = {nn.BatchNorm1d: SyncBatchNorm1d, nn.BatchNorm2d: SyncBatchNorm2d}
    for part in module.modules():
        part.__class__ = classes.get(type(part), type(part))
