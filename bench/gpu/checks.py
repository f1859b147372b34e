"""What a check is, and what came of it."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gpu.commands import Ended, run
from gpu.place import Site

OK, FAILED, TIMEOUT, NOT_RUN = "ok", "failed", "timeout", "not run"


@dataclass
class Outcome:
    """What came of a check: a status, one line for the table, and figures for the file."""

    status: str
    message: str
    figures: dict = field(default_factory=dict)
    wall_secs: float = 0.0


@dataclass
class Check:
    """One thing to prove. `aim` says what passing means."""

    name: str
    aim: str
    timeout_secs: float
    prove: Callable[["Bench"], Outcome]


@dataclass
class Bench:
    """What a check works with: the site, and the time until it has to be done."""

    site: Site
    folder: Path
    deadline: float

    def left(self) -> float:
        """Seconds left; at least a little, so that a command that has no time is stopped by its own limit."""
        return max(self.deadline - time.monotonic(), 0.5)

    def run(
        self,
        command: list,
        *,
        env: dict[str, str] | None = None,
        timeout_secs: float | None = None,
        while_running: Callable[[list[int]], bool] | None = None,
    ) -> Ended:
        """Runs a command until the check's deadline at most."""
        limit = min(self.left(), timeout_secs or float("inf"))
        ended = run([str(word) for word in command], env or self.site.env(), limit, self.folder, while_running)
        if ended.timed_out and timeout_secs is None:
            raise Stopped(ended)
        return ended

    def dtrain(self, *words, ranks: int = 0, own_hosts: bool = False, **how) -> Ended:
        """Runs dtrain, alone or with mpirun."""
        launcher = self.site.ranks(ranks, own_hosts=own_hosts) if ranks else []
        return self.run([*launcher, self.site.dtrain, *words], **how)

    def device(self) -> str:
        """The device of the settings."""
        return "cpu" if self.site.cpu else "cuda"

    def settings(self, name: str, *more: str) -> list[str]:
        """A small run on the packed data that leaves its checkpoint in `name`."""
        return [
            "experiment=simclr_birdsong", f"data.root={self.site.data}", f"run.dir={self.folder / name}", "model=cnn_small",
            "method.projector.hidden_dim=64", "method.projector.out_dim=32", "trainer.batch_size=14", "trainer.max_steps=8",
            "trainer.threads=1", "trainer.loader_threads=1", "eval.every_epochs=0", "track.tensorboard=false",
            "track.every_steps=1", f"trainer.device={self.device()}", *more,
        ]  # fmt: skip


class Stopped(Exception):
    """A command of a check ran into the check's deadline and was killed."""

    def __init__(self, ended: Ended):
        super().__init__("")
        self.ended = ended


def prove(check: Check, site: Site, limit_secs: float) -> Outcome:
    """Runs a check in a folder of its own. Whatever goes wrong is an outcome."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="check-", dir=site.work, ignore_cleanup_errors=True) as folder:
        try:
            outcome = check.prove(Bench(site, Path(folder), begin + min(limit_secs, check.timeout_secs)))
        except Stopped as stopped:
            last = stopped.ended.tail(3)
            outcome = Outcome(TIMEOUT, f"killed after {stopped.ended.wall_secs:.0f} s", {"last_words": last})
        except Exception as error:  # a broken check must not end the others
            outcome = Outcome(FAILED, f"{type(error).__name__}: {error}")
    outcome.wall_secs = time.monotonic() - begin
    return outcome


def ended_well(ended: Ended) -> Outcome | None:
    """None for exit code 0 and no processes left; else what is wrong."""
    if ended.left_behind:
        return Outcome(FAILED, f"left behind: {', '.join(ended.left_behind)}", {"last_words": ended.tail()})
    if ended.code != 0:
        return Outcome(FAILED, f"exit code {ended.code}: {first_error(ended)}", {"last_words": ended.tail()})
    return None


def first_error(ended: Ended) -> str:
    """The line that begins with `error:`, or else the last one with words."""
    lines = [line.strip() for line in ended.stderr.splitlines() if any(sign.isalpha() for sign in line)]
    return next((line for line in lines if line.startswith("error:")), lines[-1] if lines else "no message")


def message(ended: Ended) -> str:
    """The program's own error with its hint, without what the launcher says about it."""
    lines = ended.stderr.splitlines()
    begin = next((number for number, line in enumerate(lines) if line.startswith("error:")), None)
    end = next((number for number, line in enumerate(lines) if line.startswith("hint:")), None)
    return ended.tail(6) if begin is None or end is None else "\n".join(lines[begin : end + 1])


def refused(ended: Ended, code: int, *says: str) -> Outcome:
    """Passes when the program ended with `code` and said all of `says`."""
    figures = {"code": ended.code, "said": message(ended)}
    if ended.left_behind:
        return Outcome(FAILED, f"left behind: {', '.join(ended.left_behind)}", figures)
    missing = [word for word in says if word not in ended.stderr]
    if ended.code != code or missing:
        wanted = f"exit code {ended.code} instead of {code}" if ended.code != code else f"does not say `{missing[0]}`"
        return Outcome(FAILED, f"{wanted}: {first_error(ended)}", figures)
    return Outcome(OK, first_error(ended), figures)


def read_json(path: Path) -> dict:
    """A file that a command was to write; empty where it did not."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
