"""VSBC: an exact guide passes, planted mistakes are named."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.studies.calibration import Calibration

X = np.linspace(-1, 1, 8)


def line(x, y):
    w = ppl.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    with ppl.plate("rows", len(x)):
        ppl.sample("y", dist.Normal(w[0] + w[1] * x, 0.7), obs=y)


PRECISION = np.eye(2) + np.stack([np.ones(8), X]) @ np.stack([np.ones(8), X]).T / 0.49
SDS = np.sqrt(np.diag(np.linalg.inv(PRECISION)))


def test_an_exact_guide_passes():
    found = ppl.vsbc(line, X, np.zeros(8), num_simulations=40, algorithm="laplace", progress=False)
    assert found.calibrated and "Calibrated" in str(found)
    # The mean of 40 standard normals, and their root mean square, whose errors are 0.16 and 0.11: four of these.
    assert all(abs(x) < 0.64 for x in found.shift.values())
    assert all(abs(x - 1) < 0.45 for x in found.width.values())


@pytest.mark.parametrize(
    ("scale", "shift", "word"), [(0.5, 0.0, "too narrow"), (2.0, 0.0, "too wide"), (1.0, 1.5, "shifted")]
)
def test_planted_mistakes_are_named(scale, shift, word):
    # Every fit is exact, but for what is planted: draws of a guide that is off.
    def guide(x, y):
        rows = np.stack([np.ones(8), X], axis=1)
        mean = np.linalg.inv(PRECISION) @ (rows.T @ y) / 0.49
        ppl.sample("w", dist.Normal(mean + shift * SDS + ppl.param("nothing", 0.0), scale * SDS).to_event(1))

    algorithm = ppl.BBVI(steps=1, particles=2, init={"nothing": 0.0})
    options = {"num_simulations": 40, "guide": guide, "algorithm": algorithm, "progress": False}
    found = ppl.vsbc(line, X, np.zeros(8), resample=False, **options)
    assert set(found.flagged) == {"w[0]", "w[1]"} and all(word in w for w in found.flagged.values())
    assert "Not calibrated" in str(found)
    if word == "too wide":  # weights mend it, and the table is right
        assert ppl.vsbc(line, X, np.zeros(8), **options).calibrated


def test_uniform_p_values_pass_and_others_do_not():
    rng = np.random.default_rng(0)
    p = {f"a[{i}]": rng.uniform(size=200) for i in range(20)}
    assert Calibration(p, MappingProxyType({"trusted": 200}), ()).calibrated
    p["a[3]"] = rng.beta(0.4, 0.4, size=200)
    p["a[7]"] = rng.beta(1.0, 2.0, size=200)
    found = Calibration(p, MappingProxyType({"trusted": 200}), ())
    assert set(found.flagged) == {"a[3]", "a[7]"} and found.flagged["a[3]"] == "too narrow"
    assert "shifted" in found.flagged["a[7]"] and found.shift["a[7]"] < 0
    frame = found.to_pandas()
    assert frame.loc["a[3]", "flagged"] == "too narrow" and len(frame) == 20
    assert len(found.plot().axes) == 12


def flat(y):
    mu = ppl.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
    ppl.sample("y", dist.Normal(mu, 1), obs=y)


def unseen():
    ppl.sample("mu", dist.Normal(0, 1))


def batches(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y), subsample_size=2) as i:
        ppl.sample("y", dist.Normal(mu, 1), obs=y[i])


@pytest.mark.parametrize(("model", "args"), [(flat, (0.0,)), (unseen, ()), (batches, (np.zeros(5),))])
def test_what_cannot_be_simulated_is_refused(model, args):
    with pytest.raises(ppl.ModelError, match="calibration of a model"):
        ppl.vsbc(model, *args, progress=False)


def doubled(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(mu, 0.5), obs=2 * y)


def test_data_that_are_no_argument_as_they_stand():
    found = ppl.vsbc(doubled, np.ones(4), num_simulations=20, algorithm="laplace", progress=False)
    assert found.calibrated and abs(found.width["mu"] - 1) < 4 * 0.16  # 1 / sqrt(2 * 20)
    with pytest.raises(ppl.ModelError, match="no argument as they stand"):
        ppl.vsbc(doubled, np.ones(4), guide=lambda y: None, progress=False)


def test_sites_may_be_chosen():
    found = ppl.vsbc(line, X, np.zeros(8), num_simulations=3, algorithm="laplace", sites=["w"], progress=False)
    assert set(found.p_values) == {"w[0]", "w[1]"}
    with pytest.raises(ppl.ModelError, match="'w'"):
        ppl.vsbc(line, X, np.zeros(8), sites=["v"], progress=False)
