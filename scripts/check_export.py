"""Whether weights of `dtrain export` make the same embeddings in Python as in dtrain. A test runs it (tests/it/weights.rs).

    python check_export.py LINES IMAGES EMBEDDINGS

LINES holds the Python that `dtrain export` printed, which makes `model` and loads the file, strictly. IMAGES is an IDX file of
images with one channel, of which mean and standard deviation 0.5 are taken, and EMBEDDINGS what `dtrain embed` wrote for them.
"""

import json
import pathlib
import sys

import numpy as np
import torch

TOLERANCE = 1e-5


def safetensors(path):
    data = pathlib.Path(path).read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    types = {"F32": "<f4", "I64": "<i8", "F64": "<f8"}
    return {
        name: np.frombuffer(
            data[begin + entry["data_offsets"][0] : begin + entry["data_offsets"][1]], types[entry["dtype"]]
        ).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def images(path):
    data = pathlib.Path(path).read_bytes()
    count, height, width = (int.from_bytes(data[at : at + 4], "big") for at in (4, 8, 12))
    pixels = np.frombuffer(data, np.uint8, offset=16).reshape(count, 1, height, width)
    return torch.from_numpy((pixels.astype(np.float32) / 255 - 0.5) / 0.5)


def main(lines, idx, embeddings):
    names = {}
    exec(pathlib.Path(lines).read_text(), names)
    model = names["model"].eval()
    inputs = images(idx)
    if hasattr(model, "patch_embed"):
        # Sides that patches do not divide are filled up with zeros at their ends.
        rows, columns = (whole - side for whole, side in zip(model.patch_embed.img_size, inputs.shape[2:]))
        inputs = torch.nn.functional.pad(inputs, (0, columns, 0, rows))
    written = safetensors(embeddings)
    expected, ids = written["embeddings"], written["ids"]
    with torch.no_grad():
        found = model(inputs[torch.from_numpy(ids - ids.min())]).numpy()
    assert found.shape == expected.shape, (found.shape, expected.shape)
    error = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
    print(f"{len(found)} embeddings of {found.shape[1]} features, largest difference {error:.2e}")
    sys.exit(0 if error < TOLERANCE and float(np.abs(expected).max()) > 0 else 1)


main(*sys.argv[1:])
