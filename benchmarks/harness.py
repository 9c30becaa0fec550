"""Measurements in fresh processes, each pinned to one core, in alternation.

A measurement is a module of this folder that prints one JSON object for a name on its command
line. Times are CPU seconds of the process and of the compilers it starts, counted from its very
beginning; on a machine that others use too, this is what the wall time would be on a quiet core.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
LIMIT = 300  # seconds that one measurement may take


def cpu() -> float:
    """CPU seconds since this process began, finished children included."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def say(**row) -> None:
    """The measurement's result, as the last line of its output."""
    print(json.dumps(row), flush=True)


@dataclass
class Workplace:
    """Where measurements keep their compiled code, so that only what a user compiles is compiled anew."""

    folder: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="ppl-benchmarks-"))

    def environment(self, fresh: bool = False) -> dict[str, str]:
        """One thread; bytecode in a folder of our own; PyTensor's compiled code likewise (`fresh`: in an empty one)."""
        out = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        out |= dict.fromkeys(ONE_THREAD, "1")
        out |= {"PYTHONWARNINGS": "ignore", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
        out["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        out["PYTHONPYCACHEPREFIX"] = f"{self.folder}/bytecode"
        compiled = tempfile.mkdtemp(dir=self.folder) if fresh else f"{self.folder}/pytensor"
        out["PYTENSOR_FLAGS"] = f"base_compiledir={compiled}"
        return out

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def pinned(command: list[str]) -> list[str]:
    """The command on the core that is idlest now, where cores can be chosen."""
    if shutil.which("taskset") is None or not os.path.exists("/proc/stat"):
        return command
    before = _idle()
    time.sleep(0.2)
    after = _idle()
    core = max(after, key=lambda c: after[c] - before.get(c, 0))
    return ["taskset", "-c", str(core), *command]


def _idle() -> dict[int, int]:
    """Idle ticks of the cores that this process may use."""
    allowed = os.sched_getaffinity(0)
    with open("/proc/stat") as file:
        rows = [line.split() for line in file if line.startswith("cpu") and line[3].isdigit()]
    return {int(r[0][3:]): int(r[4]) for r in rows if int(r[0][3:]) in allowed}


def measure(place: Workplace, module: str, who: str, *, fresh: bool = False) -> dict:
    """One measurement in a process of its own; `status` is "ok", "absent", "failed" or "timeout"."""
    command = pinned([sys.executable, "-m", f"benchmarks.{module}", who])
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=place.environment(fresh), capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return {"status": "timeout"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        absent = last.startswith("ModuleNotFoundError")
        return {"status": "absent" if absent else "failed", "note": last[:200]}
    return {"status": "ok", **json.loads(done.stdout.strip().splitlines()[-1])}


def import_seconds(place: Workplace, statement: str) -> dict:
    """CPU and wall seconds of an interpreter that does one import."""
    command = pinned([sys.executable, "-c", statement])
    before, begun = cpu(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=place.environment(), capture_output=True, text=True, timeout=LIMIT)
    wall = time.perf_counter() - begun
    if done.returncode:
        return {"status": "absent", "note": done.stderr.strip().splitlines()[-1][:200]}
    return {"status": "ok", "cpu": cpu() - before, "wall": wall}


def median(rows: Iterable[dict], key: str) -> float | None:
    """Median of a figure over the rounds that have it."""
    found = [r[key] for r in rows if isinstance(r.get(key), int | float)]
    return statistics.median(found) if found else None


def spread(rows: Iterable[dict], key: str) -> str:
    """Smallest and largest of a figure over the rounds."""
    found = [r[key] for r in rows if isinstance(r.get(key), int | float)]
    return f"{min(found):.3g} .. {max(found):.3g}" if found else "-"
