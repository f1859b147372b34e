"""The parts of the check, in the order in which they run."""

from collections.abc import Callable

from gpu.checks import Check
from gpu.parts import errors, nccl, overlap, parity, resume, throughput
from gpu.place import Site

PARTS: dict[str, Callable[[Site], list[Check]]] = {
    "parity": parity.checks,
    "resume": resume.checks,
    "nccl": nccl.checks,
    "overlap": overlap.checks,
    "throughput": throughput.checks,
    "errors": errors.checks,
}
