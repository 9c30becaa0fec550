"""Learning from a file that is read in pieces: a mixture by natural gradients on minibatches.

The rows lie in a memory map. A step reads 500 of them, brings their responsibilities to the optimum, and moves the
global natural parameters towards what these rows, counted for all, would say. One pass is enough to come close to
where sweeps over everything end.

To learn here:

- `subsample_size` in a plate, and `x[i]` where the rows are read;
- `ppl.SVI` takes `steps` minibatches; step sizes fall like (t + delay)^-kappa.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import ppl
import ppl.distributions as dist

ROWS, CENTRES = 40_000, np.array([[0.0, 0.0], [6.0, 1.0], [-2.0, 6.0]])


def write(path, seed=0):
    """A memory map of rows from three clusters."""
    rng = np.random.default_rng(seed)
    rows = np.memmap(path, dtype=float, mode="w+", shape=(ROWS, 2))
    rows[:] = CENTRES[rng.integers(3, size=ROWS)] + rng.standard_normal((ROWS, 2))
    return rows


def mixture(x, size=None):
    weight = ppl.sample("weight", dist.Dirichlet(np.ones(3)))
    with ppl.plate("components", 3):
        mu = ppl.sample("mu", dist.Normal(0, 10).expand([2]).to_event(1))
        tau = ppl.sample("tau", dist.Gamma(2, 2).expand([2]).to_event(1))
    with ppl.plate("rows", len(x), subsample_size=size) as i:
        z = ppl.sample("z", dist.Categorical(weight))
        ppl.sample("x", dist.Normal(mu[z], 1 / np.sqrt(tau[z])).to_event(1), obs=x[i])


def main():
    with tempfile.TemporaryDirectory() as folder:
        x = write(Path(folder) / "rows")
        one_pass = ppl.infer(mixture, x, size=500, algorithm=ppl.SVI(steps=ROWS // 500), progress=False)
        everything = ppl.infer(mixture, x, algorithm="cavi", progress=False)
    found = one_pass.params["mu.loc"]
    found = found[np.argsort(found.sum(1))]
    print(f"one pass of minibatches: bound {one_pass.elbo:.1f}")
    print(f"sweeps over everything:  bound {everything.elbo:.1f}, {everything.solution.steps} sweeps")
    print("centres:", np.array2string(found, precision=2).replace("\n", ""))
    return {"one_pass": one_pass, "everything": everything, "found": found}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    main()
