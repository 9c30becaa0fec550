"""F at the statistics of a single point is the model's log joint there."""

import numpy as np
import pytest

from ppl.conjugacy.execution import Execution
from ppl.conjugacy.recognition import recognize, record
from ppl.model.handlers import seed, substitute, trace

from .models import MODELS


def log_joint(model, args, values):
    """The model's own log density at a point, without programs."""
    run = trace(seed(substitute(model, data=values), rng_seed=0)).get_trace(*args)
    return {n: float(np.sum(s["fn"].log_prob(s["value"]))) for n, s in run.items() if s["type"] == "sample"}


def point(found, rng):
    """Random values of all latents."""
    out = {}
    for b in found.blocks.values():
        k = {"positive": lambda s: rng.gamma(2.0, size=s), "unit": lambda s: rng.random(s)}.get(
            b.atom.support, lambda s: rng.normal(size=s)
        )
        if b.atom.support == "simplex":
            out[b.name] = rng.dirichlet(np.ones(b.shape[-1]), b.shape[:-1])
        elif b.atom.support == "matrix":
            root = rng.normal(size=b.shape)
            out[b.name] = root @ np.swapaxes(root, -1, -2) + np.eye(b.shape[-1])
        elif b.discrete == "one-hot":
            out[b.name] = np.eye(b.shape[-1], dtype=int)[rng.integers(b.shape[-1], size=b.shape[:-1])]
        elif b.discrete:
            out[b.name] = rng.integers(b.atom.axes[-1].size, size=b.shape)
        else:
            out[b.name] = k(b.shape)
    return out


def statistics(b, x):
    shape = tuple(a.size for a in b.axes)
    if b.discrete and b.discrete != "one-hot":
        return {"is": np.eye(shape[-1])[np.reshape(x, shape[:-1])]}
    return b.family.at(np.reshape(x, shape).astype(float))


@pytest.mark.parametrize("name", MODELS)
def test_f_at_a_point_is_the_log_joint(name):
    model, args = MODELS[name]
    found = recognize(record(model, args, {}))
    assert found.whole, [str(r) for r in found.blocked]
    e = Execution(found, None)
    rng = np.random.default_rng(1)
    values = point(found, rng)
    means = {(b.name, s): x for b in found.blocks.values() for s, x in statistics(b, values[b.name]).items()}
    terms = e.terms(means, {})
    for site, value in log_joint(model, args, values).items():
        np.testing.assert_allclose(terms.get(site, 0.0), value, rtol=1e-9, err_msg=site)
