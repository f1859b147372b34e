"""The PyTorch peers against slow formulas; needs torch: `VENV/bin/python -m unittest discover -s bench/tests`."""

import os
import sys
import tempfile
import unittest
from importlib.util import find_spec
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCH / "peers"))

if all(find_spec(name) for name in ("torch", "torchvision", "torchaudio")):
    import digits
    import multihead_ddp
    import nt_xent_naive
    import simclr_ddp
    import torch
    import torch.distributed as dist
    import torch.multiprocessing as mp
    from sync_batch_norm import SyncBatchNorm2d, convert_sync_batch_norm
    from torch import nn
else:
    raise unittest.SkipTest("torch, torchvision and torchaudio are not installed")

WORLD_SIZE = 2
SAMPLES_PER_RANK = 3


def join(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD_SIZE)


def loss_on_a_rank(rank: int, projections, folder: str) -> None:
    join(rank, folder)
    own = projections[rank].clone().requires_grad_()
    loss = simclr_ddp.nt_xent(own, rank)
    loss.backward()
    torch.save((loss.detach(), own.grad), f"{folder}/{rank}")
    dist.destroy_process_group()


def batch_norm_on_a_rank(rank: int, inputs, folder: str) -> None:
    join(rank, folder)
    layer = nn.Sequential(nn.BatchNorm2d(4))
    convert_sync_batch_norm(layer)
    assert isinstance(layer[0], SyncBatchNorm2d)
    own = inputs[rank].clone().requires_grad_()
    outputs = layer(own)
    outputs.pow(3).sum().backward()
    torch.save((outputs.detach(), own.grad, layer[0].running_var), f"{folder}/{rank}")
    dist.destroy_process_group()


def on_all_ranks(function, values) -> list:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(function, (values, folder), WORLD_SIZE)
        return [torch.load(os.path.join(folder, str(rank))) for rank in range(WORLD_SIZE)]


class Peers(unittest.TestCase):
    def test_the_distributed_loss_is_the_global_one(self):
        torch.manual_seed(0)
        projections = torch.randn(WORLD_SIZE, 2 * SAMPLES_PER_RANK, 8)
        ranks = on_all_ranks(loss_on_a_rank, projections)

        whole = projections.clone().requires_grad_()
        z = torch.nn.functional.normalize(whole.flatten(0, 1))
        terms = []
        for i, anchor in enumerate(z):
            rank, row = divmod(i, 2 * SAMPLES_PER_RANK)
            positive = rank * 2 * SAMPLES_PER_RANK + (row + SAMPLES_PER_RANK) % (2 * SAMPLES_PER_RANK)
            others = [j for j in range(len(z)) if j != i]
            similarities = {j: anchor @ z[j] / simclr_ddp.TEMPERATURE for j in others}
            terms.append(torch.stack(list(similarities.values())).logsumexp(0) - similarities[positive])
        loss = torch.stack(terms).mean()
        loss.backward()

        mean = torch.stack([rank_loss for rank_loss, _ in ranks]).mean()
        gradient = torch.stack([gradient for _, gradient in ranks]) / WORLD_SIZE
        torch.testing.assert_close(mean, loss.detach())
        torch.testing.assert_close(gradient, whole.grad)

    def test_the_naive_loss_is_the_same_formula(self):
        torch.manual_seed(0)
        rows = torch.randn(8, 4)
        z = torch.nn.functional.normalize(rows)
        terms = [
            torch.stack([z[i] @ z[j] / 0.1 for j in range(8) if j != i]).logsumexp(0) - z[i] @ z[(i + 4) % 8] / 0.1
            for i in range(8)
        ]
        self.assertAlmostEqual(nt_xent_naive.forward_backward(rows, 0.1), torch.stack(terms).mean().item(), 4)

    def test_synchronized_batch_norm_is_batch_norm_of_all_samples(self):
        torch.manual_seed(0)
        inputs = torch.randn(WORLD_SIZE, 3, 4, 5, 5) * 2 + 1
        ranks = on_all_ranks(batch_norm_on_a_rank, inputs)
        whole = inputs.flatten(0, 1).requires_grad_()
        layer = nn.BatchNorm2d(4)
        outputs = layer(whole)
        outputs.pow(3).sum().backward()
        torch.testing.assert_close(torch.cat([r[0] for r in ranks]), outputs.detach(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.cat([r[1] for r in ranks]), whole.grad, rtol=1e-3, atol=1e-3)
        for rank in ranks:
            torch.testing.assert_close(rank[2], layer.running_var)

    def test_both_ways_of_reading_images_give_the_same_batch(self):
        torch.manual_seed(0)
        images = torch.randint(0, 256, (6, 28, 28), dtype=torch.uint8)
        labels = torch.arange(18).reshape(6, 3)
        one_by_one = multihead_ddp.Images(images, labels)
        indices = [4, 0, 3]
        expected = [torch.stack(parts) for parts in zip(*(one_by_one[index] for index in indices))]
        at_once = multihead_ddp.Batches(images, labels).__getitems__(indices)
        torch.testing.assert_close(at_once[0], expected[0])
        self.assertTrue(torch.equal(at_once[1], expected[1]))

    def test_the_multihead_network_has_the_size_and_the_loss_that_its_name_says(self):
        torch.manual_seed(0)
        network = multihead_ddp.MultiheadCnn()
        self.assertEqual(sum(parameter.numel() for parameter in network.parameters()), 422_770)
        logits = network(torch.randn(4, 1, 28, 28))
        self.assertEqual([tuple(own.shape) for own in logits], [(4, 10), (4, 5), (4, 3)])
        labels = torch.tensor([[7, 2, 1], [0, 4, 2], [9, 0, 0], [3, 3, 1]])
        expected = sum(
            weight * -own.softmax(1)[range(4), labels[:, head]].log().mean()
            for head, (weight, own) in enumerate(zip((1.0, 0.5, 0.5), logits))
        )
        torch.testing.assert_close(multihead_ddp.multihead_loss(logits, labels), expected)

    def test_views_have_the_shape_and_scale_that_the_encoder_expects(self):
        torch.manual_seed(0)
        views = digits.Views()
        recordings = [torch.randn(length) * 0.1 for length in (1_148, 8_000, 18_262)]
        batch = views.batched(recordings)
        self.assertEqual(batch.shape, (3, 1, digits.NUM_MELS, digits.NUM_FRAMES))
        self.assertEqual(views.single(recordings[0]).shape, batch.shape[1:])
        torch.testing.assert_close(batch.mean(dim=(1, 2, 3)), torch.zeros(3), rtol=0, atol=0.4)
        self.assertFalse(torch.equal(batch[0], views.batched(recordings)[0]))


if __name__ == "__main__":
    unittest.main()
