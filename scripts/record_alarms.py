#!/usr/bin/env python3
"""Makes the recordings anew that tests judge alarms by: real runs, some of which go wrong.

    scripts/record_alarms.py             all of them, three quarters of an hour on two cores
    scripts/record_alarms.py simclr ...  some, by the names of the files
    scripts/record_alarms.py healthy     each method on two generated sets without a trap, three seeds each

Each becomes `trainer/src/alarms/recordings/NAME.jsonl`: a line that says what was run and what alarms go by, then the
metrics that rules look at. `trainer/src/alarms/recorded.rs` says which alarms are expected of which; those in `healthy/` are silent.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RECORDINGS = REPOSITORY / "trainer/src/alarms/recordings"

RUNS = {
    # Recordings in place of species.
    "simclr_birdsong": "experiment=simclr_birdsong",
    # Gradients through the projection that is predicted: everything becomes one point (Chen & He 2021, section 4.1).
    # Batch norm in the projector and the backbone would keep the embedding from following all the way.
    "simsiam_without_stop_gradient": "experiment=simsiam_birdsong ~optimizer.groups method.stop_gradient=false"
    " method.projector.batch_norm=false method.projector.last_batch_norm=false model.norm=group"
    " optimizer.lr=0.01 schedule=constant trainer.batch_size=32 trainer.max_epochs=5",
    # A learning rate that moves nothing: the loss stays at ln 10, and the network knows recordings as any untrained one does.
    "supervised_that_does_not_learn": "experiment=supervised_birdsong optimizer.lr=1e-9 trainer.max_epochs=3 track.every_steps=1",
    # The centre stays at 0, and within ten steps every view is of one class (Caron et al. 2021, section 5.3). Batch norm in the head
    # would centre as well.
    "dino_without_centering": "experiment=dino_birdsong method.center_momentum=0.999999 method.head.batch_norm=false"
    " method.momentum=0.9 optimizer.lr=0.003 trainer.batch_size=32 trainer.max_epochs=4",
    # A head without batch norm on a small network, at twice the rate: every view is of all classes alike.
    "dino_that_becomes_uniform": "experiment=dino_birdsong method.head.batch_norm=false optimizer.lr=0.002 trainer.max_epochs=8",
    # These go well.
    "supervised_birdsong": "experiment=supervised_birdsong",
    "supcon_birdsong": "experiment=supcon_birdsong trainer.max_epochs=6",
    "simsiam_birdsong": "experiment=simsiam_birdsong trainer.max_epochs=5",
}
# Every method on spoken digits and on environmental sounds, where nothing is to be found out.
HEALTHY = {
    f"healthy/{method}_{data}_seed{seed}": f"experiment={method}_{data} data.generate.scale=0.5 trainer.batch_size=32"
    f" trainer.max_epochs={epochs} eval.every_epochs={epochs // 4} schedule.warmup_epochs=1 seed={seed}"
    for data, epochs in (("fsdd", 8), ("esc10", 12))
    for method in ("simclr", "supcon", "byol", "simsiam", "dino", "supervised")
    for seed in (0, 1, 2)
}
# What rules look at.
KEPT = re.compile(
    r"train/(loss|linear_top1|teacher_entropy)$|val/(chance|knn_top1|linear_top1|embedding_std|effective_rank|alignment|uniformity)$"
    r"|val/recording_(knn_top1|chance)$"
)
FACT = re.compile(r'(embedding_width|full_rank|recording|entropy_metric|num_classes|loss_at_chance|loss_at_minimum)=("[^"]*"|[-+.\w]+)')


def main() -> int:
    """Records the runs that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--dtrain", type=Path, default=REPOSITORY / "target/release/dtrain", help="default: %(default)s")
    args = parser.parse_args()
    runs = {**RUNS, **HEALTHY}
    names = [name for asked in args.names or runs for name in (HEALTHY if asked == "healthy" else [asked])]
    unknown = [name for name in names if name not in runs]
    if unknown:
        parser.error(f"no recording is called `{unknown[0]}`; there are {', '.join(runs)}")
    if not args.dtrain.is_file():
        parser.error(f"no dtrain at `{args.dtrain}`: build it with `cargo build --release`")
    for name in names:
        record(name, runs[name], args.dtrain)
    return 0


def record(name: str, words: str, dtrain: Path) -> None:
    """Runs one configuration, in a folder of its own, and keeps what rules look at."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [str(dtrain), *shlex.split(words), f"run.dir={run}", "track.tensorboard=false"]
        print(f"{name}: dtrain {words}", file=sys.stderr)
        subprocess.run(command, check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        lines = [json.dumps({"command": f"dtrain {words}", **facts(run)}), *metrics(run)]
    path = RECORDINGS / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def facts(run: Path) -> dict:
    """What the log says that alarms go by."""
    log = (run / "logs/rank_000.log").read_text().splitlines()
    told = next((line for line in log if "what alarms go by" in line), "")
    found = {key: json.loads(value) for key, value in FACT.findall(told)}
    if "embedding_width" not in found:
        sys.exit(f"the log of {run} does not say what alarms go by")
    return found


def metrics(run: Path) -> list[str]:
    """Lines of `metrics.jsonl`, without what no rule looks at."""
    kept = []
    for text in (run / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        values = {key: value for key, value in line.items() if KEPT.match(key) and isinstance(value, int | float)}
        if values:
            # Six digits tell as much, and make the files small.
            short = {key: float(f"{value:.6g}") for key, value in values.items()}
            kept.append(json.dumps({"step": line["step"], "epoch": line["epoch"], **short}))
    return kept


if __name__ == "__main__":
    sys.exit(main())
