"""Result files: what was measured, when, on which commit and machine."""

import datetime
import json
from pathlib import Path

from harness.machine import REPOSITORY, commit, file_sha256, machine, trainer_of

RESULTS = REPOSITORY / "bench/results"


def store(
    bench: str, about: str, dtrain: Path, figures: dict, folder: Path = RESULTS, where: dict | None = None
) -> Path:
    """Writes one result and returns its file; `where` is the machine as it was before the measurement."""
    date = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    result = {
        "bench": bench,
        "about": about,
        "date": date.isoformat(),
        "code": {**commit(), "dtrain_sha256": file_sha256(trainer_of(dtrain))},
        "machine": machine() if where is None else where,
        **figures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{bench}-{date:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path
