"""Old Faithful: how many kinds of eruption are there, and which kind was each?

Each row is how long an eruption lasted, and how long the wait for the next one was. Six components with full
covariances are offered; the weights' prior has little concentration, so that what is not needed empties itself.

To learn here:

- `ppl.CAVI(blocks=[("mu", "precision")])` keeps a mean and its precision in one block, a normal-Wishart: under it
  the density of a new row is a mixture of Student's t, and `fit.log_predictive` has it in closed form;
- `fit.params["z.probs"]` are the responsibilities: how sure the posterior is of each row's component;
- rows held out say whether more components help.

The data are read from the folder that $PPL_DATA names, as `classic/faithful.csv`. Where that is absent, rows like
them are drawn from the two normals that fit them best (their figures below).
"""

import argparse
import os
from pathlib import Path

import numpy as np

import ppl
import ppl.distributions as dist

SHARE, MEANS = 0.356, np.array([[2.04, 54.5], [4.29, 80.0]])
COVARIANCES = np.array([[[0.069, 0.435], [0.435, 33.7]], [[0.170, 0.941], [0.941, 36.0]]])


def read():
    """Minutes of eruptions and of waiting, and whether they are the real ones."""
    path = Path(os.environ.get("PPL_DATA", "")) / "classic" / "faithful.csv"
    if path.is_file():
        return np.loadtxt(path, delimiter=",", skiprows=1, usecols=(1, 2)), True
    rng = np.random.default_rng(0)
    kind = (rng.random(272) > SHARE).astype(int)
    return np.array([rng.multivariate_normal(MEANS[k], COVARIANCES[k]) for k in kind]), False


def eruptions(x, components, mean, spread):
    weight = ppl.sample("weight", dist.Dirichlet(np.full(components, 0.01)))
    with ppl.plate("components", components):
        precision = ppl.sample("precision", dist.Wishart(3.0, rate_matrix=spread))
        mu = ppl.sample("mu", dist.MultivariateNormal(mean, precision_matrix=0.1 * precision))
    with ppl.plate("rows", len(x)):
        z = ppl.sample("z", dist.Categorical(weight))
        ppl.sample("x", dist.MultivariateNormal(mu[z], precision_matrix=precision[z]), obs=x)


def fitted(x, components, prior):
    algorithm = ppl.CAVI(blocks=[("mu", "precision")])
    return ppl.infer(eruptions, x, components, *prior, algorithm=algorithm, progress=False)


def draw(x, fit, used, path):
    """Rows coloured by their responsibilities, and an ellipse of two standard deviations for each component in use."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Ellipse

    probs = fit.params["z.probs"][:, used]
    colours = np.array([[0.12, 0.47, 0.71], [0.84, 0.15, 0.16], [0.17, 0.63, 0.17], [0.58, 0.4, 0.74]])
    colours = np.resize(colours, (len(used), 3))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8, 3.6), width_ratios=(2, 1), gridspec_kw={"wspace": 0.3}, layout="constrained"
    )
    left.scatter(*x.T, c=np.clip(probs @ colours, 0, 1), s=12)
    for k, colour in zip(used, colours, strict=True):
        covariance = fit.params["precision.rate_matrix"][k] / fit.params["precision.concentration"][k]
        values, vectors = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(*vectors[::-1, 1]))
        width, height = 4 * np.sqrt(values[::-1])
        left.add_patch(Ellipse(fit.params["mu.loc"][k], width, height, angle=angle, fill=False, edgecolor=colour))
    left.set(xlabel="eruption, minutes", ylabel="wait for the next, minutes", title="responsibilities")
    weight, sd = fit["weight"].mean, fit["weight"].sd
    right.bar(range(len(weight)), weight, yerr=2 * sd, color="0.6", ecolor="0.2")
    right.set(xlabel="component", ylabel="weight", title="most are empty")
    figure.savefig(path, dpi=90)


def main(plot=None):
    x, real = read()
    rng = np.random.default_rng(0)
    held_out = rng.permutation(len(x)) < 50
    train, test = x[~held_out], x[held_out]
    prior = train.mean(0), np.diag(train.var(0))
    fit = fitted(train, 6, prior)
    weight = fit["weight"].mean
    used = [int(k) for k in np.argsort(-weight) if weight[k] > 0.02]
    print("the real rows" if real else "rows like the real ones")
    print(f"{len(used)} of {len(weight)} components are in use; bound {fit.elbo:.2f}")
    for k in used:
        eruption, wait = fit.params["mu.loc"][k]
        print(f"  {weight[k]:4.0%}: eruptions of {eruption:.2f} minutes, then {wait:.1f} minutes of waiting")
    probs = fit.params["z.probs"]
    unsure = np.flatnonzero(probs.max(1) < 0.99)
    print(
        f"{len(unsure)} of {len(train)} rows are less than 99 % sure to be of one kind"
        + (", as:" if len(unsure) else "")
    )
    for n in unsure[:3]:
        print(f"  {train[n, 0]:.2f}, {train[n, 1]:.0f}: " + ", ".join(f"{p:.2f}" for p in probs[n, used]))
    print("50 rows held out, log density of a row:")
    scores = {}
    for components in (2, 3, 6):
        other = fit if components == 6 else fitted(train, components, prior)
        found = other.log_predictive(test, components, *prior)
        scores[components] = found.value / len(test)
        print(f"  {components} components: {scores[components]:.3f} ({found.how})")
    if plot:
        draw(train, fit, used, plot)
    return {"fit": fit, "used": used, "scores": scores, "real": real}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the responsibilities")
    main(**vars(parser.parse_args()))
