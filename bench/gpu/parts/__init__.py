"""The parts of the check, in the order in which they run."""

from collections.abc import Callable

from gpu.checks import Check
from gpu.parts import errors, nccl, overlap, parity, throughput
from gpu.place import Site

PARTS: dict[str, Callable[[Site], list[Check]]] = {
    "parity": parity.checks,
    "nccl": nccl.checks,
    "overlap": overlap.checks,
    "throughput": throughput.checks,
    "errors": errors.checks,
}
