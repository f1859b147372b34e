"""What a machine cannot do ends with exit code 3 and a next step."""

from gpu.checks import Bench, Check, Outcome, refused
from gpu.place import Site

HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}
# Holds the network and its optimizer, and the activations of some samples.
ROOM_BYTES = 900_000_000


def checks(site: Site) -> list[Check]:
    """Those that the device can show."""
    checks = [Check("precision of the machine", "fp16 on the CPU: exit 3 and a hint", 30, precision)]
    if site.cpu:
        return [*checks, Check("no GPU", "trainer.device=cuda: exit 3 and a hint", 30, no_gpu)]
    return [*checks, Check("too little memory", "exit 3, names the micro-batch that would fit", 120, memory)]


def precision(bench: Bench) -> Outcome:
    """A CPU has no 16-bit floats, and GPUs that may be there are hidden."""
    settings = bench.settings("unused", "trainer.precision=fp16")
    settings = [word for word in settings if not word.startswith("trainer.device=")]
    return refused(bench.dtrain("train", *settings, env=bench.site.env(more=HIDDEN)), 3, "fp16", "hint:")


def no_gpu(bench: Bench) -> Outcome:
    """GPUs that may be there are hidden."""
    settings = bench.settings("unused", "trainer.device=cuda")
    return refused(bench.dtrain("train", *settings, env=bench.site.env(more=HIDDEN)), 3, "GPU", "hint:")


def memory(bench: Bench) -> Outcome:
    """libtorch gets a small part of the GPU, whatever its size, so that the batch need not be huge."""
    part = ROOM_BYTES / bench.site.gpus[0]["memory_bytes"]
    env = bench.site.env(more={"PYTORCH_CUDA_ALLOC_CONF": f"per_process_memory_fraction:{part:.6f}"})
    settings = bench.settings(
        "unused", "model=resnet50", "trainer.batch_size=64", "trainer.micro_batch_size=64", "trainer.precision=fp32"
    )
    return refused(bench.dtrain("train", *settings, env=env), 3, "micro", "hint:")
