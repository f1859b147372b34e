"""Runs one command with a time limit and leaves no process behind.

A command gets its own process group and session. What it has started is followed through /proc, so that ranks which
outlive their launcher are found too: they count as left behind, and are ended.
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.processes import Sampler, end_tree, program, read_back, read_stat

POLL_SECS = 0.05
# Between looks at all processes of the machine, which cost the measured ones some time.
LOOK_SECS = 0.2
# Between a launcher's end and that of the processes that it has told to end.
GRACE_SECS = 10.0


@dataclass
class Ended:
    """What a command left. `code` is None where it was killed for taking too long."""

    command: list[str]
    code: int | None
    stdout: str
    stderr: str
    wall_secs: float
    left_behind: list[str] = field(default_factory=list)

    @property
    def timed_out(self) -> bool:
        return self.code is None

    def tail(self, lines: int = 12) -> str:
        """The end of what it said."""
        text = self.stderr.strip() or self.stdout.strip()
        return "\n".join(text.splitlines()[-lines:])


class Followed(Sampler):
    """Remembers every process that descends from one, without reading memory."""

    def sample(self) -> None:
        self.tree()


def run(
    command: list[str],
    env: dict[str, str],
    timeout_secs: float,
    cwd: Path,
    while_running: Callable[[list[int]], bool] | None = None,
) -> Ended:
    """Runs `command` to its end. `while_running` hears the ids of its processes until it returns True."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        begin = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env, cwd=cwd, start_new_session=True
        )
        followed = Followed(process.pid, LOOK_SECS)
        followed.start()
        code: int | None = None
        try:
            code = wait(process, followed, begin + timeout_secs, while_running)
            if code is not None:
                gone = time.monotonic() + GRACE_SECS
                while living(followed.seen, process.pid) and time.monotonic() < gone:
                    time.sleep(POLL_SECS)
        finally:
            followed.stop()
            left_behind = [program(pid) for pid in living(followed.seen, process.pid)] if code is not None else []
            end_tree(process, followed.seen)
        wall_secs = time.monotonic() - begin
        return Ended(command, code, read_back(stdout), read_back(stderr), wall_secs, left_behind)


def wait(
    process: subprocess.Popen,
    followed: Followed,
    deadline: float,
    while_running: Callable[[list[int]], bool] | None,
) -> int | None:
    """Exit code; None at the deadline."""
    acting = while_running
    while (code := process.poll()) is None:
        if time.monotonic() > deadline:
            return None
        if acting is not None and acting(list(followed.seen.copy())):
            acting = None
        threading.Event().wait(POLL_SECS)
    return code


def living(seen: dict[int, str], root: int) -> list[int]:
    """Processes of a tree that still run; the dead that nobody has waited for do not count."""
    return [
        pid
        for pid, started in seen.copy().items()
        if pid != root and read_stat(pid).get("started") == started and not is_zombie(pid)
    ]


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and its parent has not asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True
