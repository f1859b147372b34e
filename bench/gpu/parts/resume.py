"""A run that is killed and goes on ends with the bits of one that is not: `dtrain verify resume` on the device.

With `trainer.deterministic`, which is on by default, libtorch refuses operators whose sums have no order.
"""

from gpu.checks import OK, Bench, Check, Outcome, ended_well, read_json
from gpu.place import Site

# The pooled network has windows that overlap.
CASES = {
    "convolutions": ["method=simclr", "model=resnet18", "method.projector.hidden_dim=64", "method.projector.out_dim=32"],
    "heads on pooled images": ["method=multihead", "model=simple_cnn_64k", "model.pool_size=5", "eval.embeddings=true"],
}


def checks(site: Site) -> list[Check]:
    """One check per kind of network."""
    aim = "killed three times, the same bits as undisturbed"
    return [Check(name, aim, 220, lambda bench, more=more: resumed(bench, more)) for name, more in CASES.items()]


def resumed(bench: Bench, more: list[str]) -> Outcome:
    """Exit code 0."""
    file = bench.folder / "resume.json"
    settings = [
        "experiment=simclr_birdsong", f"data.root={bench.site.data}", "trainer.batch_size=14", "trainer.threads=1",
        "trainer.loader_threads=1", "eval.every_epochs=0", "track.tensorboard=false", f"trainer.device={bench.device()}",
        "trainer.deterministic=true", *more,
    ]  # fmt: skip
    ended = bench.dtrain("verify", "resume", "--steps", "16", "--kills", "3", "--json", file, *settings)
    return ended_well(ended) or Outcome(OK, ended.stdout.strip().splitlines()[-1], read_json(file))
