"""Weights of two runs, compared without PyTorch: the safetensors format is a length, a JSON header and plain numbers."""

import array
import json
import math
import struct
from pathlib import Path

KINDS = {"F32": "f", "F64": "d"}


def read(path: Path) -> dict[str, array.array]:
    """Floating-point tensors of a file, flattened, by name."""
    data = path.read_bytes()
    (header_len,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_len])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in KINDS:
            continue
        begin, end = (8 + header_len + offset for offset in entry["data_offsets"])
        values = array.array(KINDS[entry["dtype"]])
        values.frombytes(data[begin:end])
        tensors[name] = values
    return tensors


def newest(run_dir: Path) -> Path:
    """The weights of the newest checkpoint of a run."""
    checkpoints = run_dir / "checkpoints"
    return checkpoints / (checkpoints / "latest").read_text().strip() / "model.safetensors"


def distance(one: dict[str, array.array], other: dict[str, array.array]) -> dict:
    """|a - b| / |b| of all tensors as one vector, and of the worst single tensor; `other` is the reference."""
    if one.keys() != other.keys():
        raise ValueError(f"the runs have other tensors: {sorted(one.keys() ^ other.keys())}")
    total, total_reference, worst, worst_name = 0.0, 0.0, 0.0, ""
    for name, values in one.items():
        difference = math.fsum((a - b) ** 2 for a, b in zip(values, other[name], strict=True))
        reference = math.fsum(b * b for b in other[name])
        total, total_reference = total + difference, total_reference + reference
        relative = math.sqrt(difference / reference) if reference > 0 else (0.0 if difference == 0 else math.inf)
        if not relative <= worst:
            worst, worst_name = relative, name
    whole = math.sqrt(total / total_reference) if total_reference > 0 else math.inf
    return {"weights": whole, "worst_tensor": worst, "worst_tensor_name": worst_name}
