"""Runs a command and samples, from outside, the memory of all its processes.

Memory is the proportional set size (PSS): pages that n processes share count 1/n in each, so that the sum over a tree
of processes counts every page once, shared libraries and shared memory included.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import BenchError

TAIL_CHARS = 4000


@dataclass
class Peak:
    """The sample with the largest sum over all processes of a tree."""

    total_bytes: int = 0
    processes: list[dict] = field(default_factory=list)
    num_samples: int = 0

    def as_json(self) -> dict:
        return {"pss_bytes": self.total_bytes, "num_samples": self.num_samples, "processes": self.processes}


@dataclass
class Finished:
    """What a command left."""

    command: list[str]
    stdout: str
    wall_secs: float
    peak: Peak


def run(command: list[str], env: dict[str, str], timeout_secs: float, interval_secs: float) -> Finished:
    """Runs `command` to its end. A failure or a timeout raises with the end of what it wrote to stderr."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        begin = time.monotonic()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env, start_new_session=True
            )
        except OSError as error:
            raise BenchError(f"cannot start `{command[0]}`: {error.strerror}", "check the path") from error
        sampler = Sampler(process.pid, interval_secs)
        sampler.start()
        try:
            code = process.wait(timeout_secs)
        except subprocess.TimeoutExpired as error:
            raise BenchError(
                f"`{' '.join(command)}` still runs after {timeout_secs:.0f} s", "raise `--timeout` or lower `--steps`"
            ) from error
        finally:
            sampler.stop()
            end_tree(process, sampler.seen)
        wall_secs = time.monotonic() - begin
        output, errors = read_back(stdout), read_back(stderr)
    if code != 0:
        tail = (errors.strip() or output.strip())[-TAIL_CHARS:]
        raise BenchError(
            f"`{' '.join(command)}` ended with {code}\n\n{tail}", "run the command by itself; its own message is above"
        )
    return Finished(command, output, wall_secs, sampler.peak)


def read_back(file) -> str:
    """All that was written to a temporary file."""
    file.seek(0)
    return file.read().decode(errors="replace")


def end_tree(process: subprocess.Popen, seen: dict[int, str]) -> None:
    """Ends what still lives of a tree: the process, and each process that was seen in it and is the same one still."""
    for pid in [process.pid, *seen]:
        if pid == process.pid and process.poll() is not None:
            continue
        if pid != process.pid and read_stat(pid).get("started") != seen[pid]:
            continue
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


class Sampler(threading.Thread):
    """Reads the memory of a process and all its descendants until stopped, and keeps the peak of the sum."""

    def __init__(self, root: int, interval_secs: float):
        super().__init__(daemon=True)
        self.root = root
        self.interval_secs = interval_secs
        self.peak = Peak()
        self.seen: dict[int, str] = {}
        self.stopped = threading.Event()

    def run(self) -> None:
        next_sample = time.monotonic()
        while not self.stopped.is_set():
            self.sample()
            next_sample = max(next_sample + self.interval_secs, time.monotonic())
            self.stopped.wait(next_sample - time.monotonic())

    def stop(self) -> None:
        self.stopped.set()
        self.join()

    def sample(self) -> None:
        """One reading of the whole tree. A process that ends meanwhile counts nothing."""
        processes = [
            {"pid": pid, "parent": parent, "pss_bytes": pss, "program": program(pid)}
            for pid, parent in self.tree()
            if (pss := pss_bytes(pid)) is not None
        ]
        total = sum(process["pss_bytes"] for process in processes)
        num_samples = self.peak.num_samples + 1
        if total > self.peak.total_bytes:
            self.peak = Peak(total, processes)
        self.peak.num_samples = num_samples

    def tree(self) -> list[tuple[int, int]]:
        """Process and parent ids of the root, its descendants, and former descendants whose parents have ended."""
        stats = {int(name): read_stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
        children: dict[int, list[int]] = {}
        for pid, stat in stats.items():
            children.setdefault(stat.get("parent", 0), []).append(pid)
        former = [pid for pid, started in self.seen.items() if stats.get(pid, {}).get("started") == started]
        found, waiting = set(), [self.root, *former]
        while waiting:
            pid = waiting.pop()
            if pid in stats and stats[pid] and pid not in found:
                found.add(pid)
                waiting += children.get(pid, [])
        self.seen |= {pid: stats[pid]["started"] for pid in found}
        return [(pid, stats[pid]["parent"]) for pid in sorted(found)]


def read_stat(pid: int) -> dict:
    """Parent and start time of a process; empty when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return {"parent": int(fields[1]), "started": fields[19]}
    except (OSError, IndexError, ValueError):
        return {}


def pss_bytes(pid: int) -> int | None:
    """Proportional set size; `None` when the process has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def program(pid: int) -> str:
    """Name of a process's program, and of the script that it interprets; no paths, since results are published."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return ""
    scripts = [word for word in words[1:3] if word.endswith(".py")]
    return " ".join(Path(word).name for word in words[:1] + scripts)


def check_memory_readings() -> None:
    """Raises where the kernel does not tell the proportional set size."""
    if pss_bytes(os.getpid()) is None:
        raise BenchError(
            "`/proc/self/smaps_rollup` cannot be read, so peak memory cannot be measured",
            "run on Linux 4.14 or later with /proc mounted",
        )
