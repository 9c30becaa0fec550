"""The JAX executor on several devices and in several processes: the same answers to rounding."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax")
pytestmark = pytest.mark.slow  # processes of their own, each of which compiles

MODEL = """
import sys
import jax
{setup}
import numpy as np, ppl, ppl.distributions as dist
rng = np.random.default_rng(0)
x = rng.normal(size=(4096, 5))
y = (rng.random(4096) < 1 / (1 + np.exp(-0.3 * x @ np.arange(5)))) * 1.0

def model(x, y):
    w = ppl.sample("w", dist.Normal(0, 1).expand([5]).to_event(1))
    with ppl.plate("rows", len(x)):
        ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)
"""
FIT = """
fit = ppl.infer(
    model, x, y, algorithm=ppl.BBVI(steps=100), guide="meanfield", executor="jax", progress=False
)
np.save(sys.argv[1], np.concatenate([[jax.device_count()], fit.params["w.loc"], fit.history]))
"""
LONG = """
algorithm = ppl.BBVI(steps=10**6, tolerance=1e-9, checkpoint=sys.argv[1], checkpoint_every=0.2)
ppl.infer(model, x, y, algorithm=algorithm, guide="meanfield", executor="jax", progress=False)
"""
TWO = """
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize("localhost:{port}", 2, {rank}, heartbeat_timeout_seconds=10)
"""


def start(code: str, *args: object, devices: int = 1) -> subprocess.Popen:
    flags = f"--xla_force_host_platform_device_count={devices}"
    root = str(Path(__file__).resolve().parents[2])
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], env=env, **quiet)


def two(code: str, paths: list) -> list[subprocess.Popen]:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    setups = [TWO.format(port=port, rank=rank) for rank in (0, 1)]
    return [start(MODEL.format(setup=s) + code, path) for s, path in zip(setups, paths, strict=True)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    path = tmp_path_factory.mktemp("alone") / "fit.npy"
    assert start(MODEL.format(setup="") + FIT, path).wait(300) == 0
    return np.load(path)


def test_eight_devices(alone, tmp_path):
    path = tmp_path / "fit.npy"
    assert start(MODEL.format(setup="") + FIT, path, devices=8).wait(300) == 0
    found = np.load(path)
    assert (alone[0], found[0]) == (1, 8)
    np.testing.assert_allclose(found[1:], alone[1:], rtol=1e-9)


def test_two_processes(alone, tmp_path):
    paths = [tmp_path / f"{rank}.npy" for rank in (0, 1)]
    assert [p.wait(300) for p in two(FIT, paths)] == [0, 0]
    for path in paths:
        found = np.load(path)
        assert found[0] == 2
        np.testing.assert_allclose(found[1:], alone[1:], rtol=1e-9)


def test_a_killed_process_ends_the_run_which_goes_on_from_its_checkpoint(tmp_path):
    paths = [tmp_path / f"{rank}.npz" for rank in (0, 1)]
    first, second = two(LONG, paths)
    deadline = time.monotonic() + 200
    while not all(p.exists() for p in paths):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.2)
    second.send_signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL and first.wait(120) != 0
    again = "fit = ppl.load(sys.argv[1], model)\nn = len(fit.history)\nmore = fit.resume(steps=100)\n"
    check = "assert n > 0 and len(more.history) == n + 100 and np.all(np.isfinite(more.params['w.loc']))\n"
    assert start(MODEL.format(setup="") + again + check, paths[0]).wait(300) == 0
