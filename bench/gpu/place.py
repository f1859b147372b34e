"""Where the check runs: a pack or a checkout, its program, Open MPI, libtorch and NCCL, and what the machine is.

Nothing here imports torch: finding its folder is enough, and takes no second.
"""

import ctypes
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import BenchError
from harness.machine import commit, file_sha256, machine, trainer_of

ROOT = Path(__file__).absolute().parents[2]
LIBTORCH = "2.11"
# Settings of one user's shell that would change what is checked.
FOREIGN = ("OMPI_", "PMIX_", "PMI_", "SLURM_", "NCCL_", "DTRAIN_", "RUST_LOG", "NO_COLOR", "CLICOLOR")


@dataclass
class Site:
    """Programs, libraries and data of this machine."""

    root: Path
    dtrain: Path
    mpirun: str
    data: Path
    torch: Path | None
    nccl: Path | None
    work: Path
    cpu: bool
    gpus: list[dict] = field(default_factory=list)

    @property
    def packed(self) -> bool:
        return (self.root / "pack.json").is_file()

    def env(self, *, with_nccl: bool = True, more: dict[str, str] | None = None) -> dict[str, str]:
        """The environment of every command."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        folders = [str(folder) for folder in self.library_folders(with_nccl)]
        if env.get("LD_LIBRARY_PATH"):
            folders.append(env["LD_LIBRARY_PATH"])
        if folders:
            env["LD_LIBRARY_PATH"] = ":".join(folders)
        # Containers are often root, which Open MPI refuses unless told twice; killed jobs leave their files to us.
        env |= {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_orte_tmpdir_base": str(self.work),
            "OMPI_MCA_btl_vader_backing_directory": str(self.work),
            "OMP_NUM_THREADS": env.get("OMP_NUM_THREADS", "1"),
        }
        if self.packed:
            mpi = self.root / "openmpi"
            env |= {
                "OPAL_PREFIX": str(mpi),
                "OPAL_BINDIR": str(mpi / "bin"),
                "OPAL_LIBDIR": str(mpi / "lib"),
                "OPAL_PKGLIBDIR": str(mpi / "lib/plugins"),
                "OPAL_DATADIR": str(mpi / "share"),
                "OPAL_PKGDATADIR": str(mpi / "share"),
                "OPAL_SYSCONFDIR": str(mpi / "share"),
                "PMIX_INSTALL_PREFIX": str(mpi),
                "PMIX_LIBDIR": str(mpi / "lib"),
                "PMIX_PKGLIBDIR": str(mpi / "lib/plugins"),
                "PMIX_PKGDATADIR": str(mpi / "share"),
                "PATH": f"{mpi / 'bin'}:{env.get('PATH', '')}",
            }
        return env | (more or {})

    def library_folders(self, with_nccl: bool) -> list[Path]:
        folders = []
        if with_nccl and self.nccl is not None:
            folders.append(self.work / "nccl")
        if self.torch is not None:
            folders.append(self.torch / "lib")
            # Without NCCL its folder stays out too: libtorch finds its own copy by its own path.
            wheels = sorted(self.torch.parent.glob("nvidia/*/lib"))
            folders += [folder for folder in wheels if with_nccl or not list(folder.glob("libnccl.so*"))]
        if self.packed:
            folders.append(self.root / "openmpi/lib")
        return folders

    def ranks(self, num: int, *, own_hosts: bool = False) -> list[str]:
        """The launcher of `num` ranks; with `own_hosts` each looks like a machine of its own to NCCL."""
        command = [self.mpirun, "--bind-to", "none", "--oversubscribe", "-n", str(num)]
        return command + ([str(self.root / "bench/gpu/own_host.sh")] if own_hosts else [])

    def about(self) -> dict:
        """What a result was measured with and on."""
        packed = json.loads((self.root / "pack.json").read_text()) if self.packed else {}
        code = {key: packed[key] for key in ("commit", "dirty") if key in packed} if self.packed else commit()
        return {
            "code": {**code, "packed": self.packed, "dtrain_sha256": file_sha256(trainer_of(self.dtrain))},
            "machine": {**machine(), "gpus": self.gpus},
            "libtorch": torch_version(self.torch) if self.torch else None,
        }


def find(work: Path, cpu: bool) -> Site:
    """Finds everything, or says what is missing."""
    packed = (ROOT / "pack.json").is_file()
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    dtrain = ROOT / "bin/dtrain" if packed else target / "release/dtrain"
    if not dtrain.is_file():
        raise BenchError(f"there is no program `{dtrain}`", "run `cargo build --release`, or scripts/pack.sh elsewhere")
    mpirun = str(ROOT / "openmpi/bin/mpirun") if packed else shutil.which("mpirun")
    if mpirun is None:
        raise BenchError("there is no `mpirun`", "run scripts/setup.sh")
    torch = find_torch()
    nccl = find_nccl(torch)
    if nccl is not None:
        # The name under which programs ask for it.
        (work / "nccl").mkdir(parents=True, exist_ok=True)
        (work / "nccl/libnccl.so").symlink_to(nccl)
    site = Site(ROOT, dtrain, mpirun, ROOT / "data/birdsong", torch, nccl, work, cpu, [] if cpu else find_gpus())
    check_program(site)
    if not site.data.is_dir() or not packed:
        site.data = work / "birdsong"
        make_data(site)
    return site


def find_torch() -> Path | None:
    """The folder of libtorch: LIBTORCH, that of a checkout, or that of this Python; None: the program knows its own."""
    candidates = [os.environ.get("LIBTORCH"), ROOT / ".deps/torch"]
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.submodule_search_locations:
        candidates.append(spec.submodule_search_locations[0])
    wrong = []
    for folder in (Path(candidate).resolve() for candidate in candidates if candidate):
        if not (folder / "lib/libtorch_cpu.so").is_file():
            continue
        version = torch_version(folder)
        if version is None or version.startswith(LIBTORCH):
            return folder
        wrong.append(f"`{folder}` is {version}")
    if wrong:
        raise BenchError(
            f"dtrain binds libtorch {LIBTORCH}, but {', '.join(wrong)}",
            f"set PYTHON to a Python that has torch {LIBTORCH}, or LIBTORCH to its folder `torch`",
        )
    return None


def torch_version(folder: Path) -> str | None:
    """As in the wheel's own file; None for other builds."""
    try:
        found = re.search(r"^__version__ = '([^']+)'", (folder / "version.py").read_text(), re.MULTILINE)
    except OSError:
        return None
    return found and found[1]


def find_nccl(torch: Path | None) -> Path | None:
    """NCCL of the same wheels as libtorch: two copies in one process would not know of each other."""
    if torch is None:
        return None
    found = sorted(torch.parent.glob("nvidia/*/lib/libnccl.so.2")) + [torch / "lib/libnccl.so.2"]
    return next((path.resolve() for path in found if path.is_file()), None)


def find_gpus() -> list[dict]:
    """Name and memory of each GPU that this process may use, and the driver's version, as the driver tells."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) != 0:
            return []
    except OSError:
        return []
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    gpus = []
    for ordinal in range(count.value):
        name, total, device = ctypes.create_string_buffer(256), ctypes.c_size_t(0), ctypes.c_int(0)
        driver.cuDeviceGet(ctypes.byref(device), ordinal)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
        cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        gpus.append({"name": name.value.decode(errors="replace"), "memory_bytes": total.value, "driver_cuda": cuda})
    return gpus


def check_program(site: Site) -> None:
    """Raises where the program does not even start."""
    try:
        done = subprocess.run([site.dtrain, "--version"], env=site.env(), capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"`{site.dtrain}` cannot be started: {error}", "build it for this machine") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        hint = f"`ldd {site.dtrain}` tells which library is missing; libtorch {LIBTORCH} comes from "
        raise BenchError(f"`{site.dtrain}` cannot be started: {reason}", f"{hint}LIBTORCH or from torch of {sys.executable}")


def make_data(site: Site) -> None:
    """Generated recordings where the pack has none."""
    command = [site.dtrain, "data", "make", "birdsong", "--out", site.data, "--scale", "0.25"]
    done = subprocess.run(command, env=site.env(), capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise BenchError(f"data cannot be generated: {done.stderr.strip()}", "run `dtrain data make birdsong` by itself")
