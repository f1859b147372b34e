"""Where and on what a result was measured."""

import hashlib
import os
import platform
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# What the figures speak of: the program with its settings, and both sides of each bench.
MEASURED = ["Cargo.lock", "comm/src", "configs", "launcher", "trainer", "bench/peers", "bench/harness/benches.py"]
# A run of the benches writes these itself.
OWN_OUTPUT = [":!bench/results", ":!docs/benchmarks.md"]


def commit() -> dict:
    """The commit and whether the working tree differs from it; `null` outside a git checkout."""
    revision = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--", ".", *OWN_OUTPUT)
    return {"commit": revision, "dirty": None if changes is None else changes != ""}


def commits_behind(revision: str | None) -> int | None:
    """Commits since `revision` that changed what is measured; `None` where the history does not hold it."""
    if revision is None:
        return None
    count = git("rev-list", "--count", f"{revision}..HEAD", "--", *MEASURED)
    return None if count is None else int(count)


def git(*args: str) -> str | None:
    """Output of a git command, `None` where it fails."""
    try:
        done = subprocess.run(["git", *args], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def machine() -> dict:
    """CPU, memory and kernel."""
    cpu = cpu_fields()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "avx512": "avx512f" in flags,
        "bf16": bool(flags & {"avx512_bf16", "bf16"}),
        "amx": "amx_tile" in flags,
        "load_before": os.getloadavg()[0],
    }


def cpu_fields() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def trainer_of(dtrain: Path) -> Path:
    """The program that trains: the worker beside `dtrain`, or `dtrain` itself in builds that have no worker."""
    worker = dtrain.with_name("dtrain-worker")
    return worker if worker.is_file() else dtrain


def file_sha256(path: Path) -> str:
    """Checksum of the measured program: the commit alone does not say what was built."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
