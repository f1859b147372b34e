"""Probes of frozen embeddings as a careful PyTorch script writes them: weighted nearest neighbours by tiles of a matrix
product, and logistic regression on standardized embeddings by torch.optim.LBFGS, once for each weight decay.

Prints one line of JSON.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from nt_xent_naive import peak_memory, reset_peak_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="embeddings with a known class (default %(default)s)")
    parser.add_argument("--queries", type=int, default=10_000, help="embeddings asked about (default %(default)s)")
    parser.add_argument("--dim", type=int, default=512, help="width of an embedding (default %(default)s)")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--decays", type=float, nargs="+", default=[1e-4, 1e-3, 1e-2, 1e-1])
    parser.add_argument("--iterations", type=int, default=200, help="of L-BFGS, at most (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if min(args.rows, args.queries, args.dim, args.classes - 1, args.threads) < 1:
        parser.error("sizes must be at least 1, `--classes` at least 2")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    before = reset_peak_memory()
    centres = torch.randn(args.classes, args.dim) * 0.1
    bank, bank_classes = around(centres, args.rows)
    asked, asked_classes = around(centres, args.queries)

    begin = time.perf_counter()
    knn_accuracy = accuracy(neighbours(bank, bank_classes, asked, args.classes), asked_classes)
    knn_s = time.perf_counter() - begin
    begin = time.perf_counter()
    linear_accuracy = max(
        accuracy(linear(bank, bank_classes, asked, args.classes, decay, args.iterations), asked_classes)
        for decay in args.decays
    )
    linear_s = time.perf_counter() - begin
    print(
        json.dumps(
            {
                "knn_s": knn_s,
                "linear_s": linear_s,
                "probes_s": knn_s + linear_s,
                "extra_bytes": peak_memory() - before,
                "knn_accuracy": knn_accuracy,
                "linear_accuracy": linear_accuracy,
                "torch": torch.__version__,
            }
        )
    )


def around(centres: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` embeddings around the centres of the classes, each class in turn."""
    classes = torch.arange(count) % len(centres)
    return torch.randn(count, centres.shape[1]).add_(centres[classes]), classes


def neighbours(bank: Tensor, classes: Tensor, asked: Tensor, num_classes: int, k: int = 20, t: float = 0.07) -> Tensor:
    """The class that the k nearest neighbours vote for, weighted by exp(cosine / t)."""
    bank = F.normalize(bank).T.contiguous()
    answers = []
    for tile in F.normalize(asked).split(256):
        similarity, index = (tile @ bank).topk(k)
        votes = torch.zeros(len(tile), num_classes)
        votes.scatter_add_(1, classes[index], ((similarity - 1) / t).exp())
        answers.append(votes.argmax(1))
    return torch.cat(answers)


def linear(x: Tensor, classes: Tensor, asked: Tensor, num_classes: int, decay: float, iterations: int) -> Tensor:
    """The class that a logistic regression finds, fitted with an L2 penalty on its weights."""
    std, mean = torch.std_mean(x, dim=0, correction=0)
    x = (x - mean) / std
    weight = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=iterations, history_size=10, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), classes) + 0.5 * decay * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return F.linear((asked - mean) / std, weight, bias).argmax(1)


def accuracy(answers: Tensor, classes: Tensor) -> float:
    return (answers == classes).double().mean().item()


if __name__ == "__main__":
    main()
