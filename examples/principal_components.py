"""Principal components with error bars, and what they become when the noise goes to zero.

Probabilistic PCA says `x = W z + mean + noise` with z standard normal. EM finds the maximum of the likelihood,
whose subspace is that of PCA (Tipping and Bishop 1999). With priors on W and the noise, coordinate ascent gives a
posterior: uncertain loadings, and a bound that can compare numbers of components. Beside it stands PCA as a linear
autoencoder, `x = (x E) D + noise`: a code that is computed, not inferred, and no error bars.

To learn here:

- `ppl.param` makes a number to be learned, `ppl.sample` a site with a posterior; `algorithm="em"` is for the first;
- the bound of three fits chooses how many components there are.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

TRUTH, NOISE = 2, 0.3


def generate(seed=0):
    """200 rows of six columns, in which two directions carry signal."""
    rng = np.random.default_rng(seed)
    loadings = rng.standard_normal((6, TRUTH))
    return rng.standard_normal((200, TRUTH)) @ loadings.T + NOISE * rng.standard_normal((200, 6))


def learned(x, components):
    d = x.shape[1]
    w = ppl.param("w", lambda rng, rows: rng.standard_normal((d, components)))
    mean = ppl.param("mean", np.zeros(d))
    precision = ppl.param("precision", 1.0, constraint=constraints.positive)
    with ppl.plate("rows", len(x)):
        z = ppl.sample("z", dist.Normal(0, 1).expand([components]).to_event(1))
        ppl.sample("x", dist.Normal(z @ w.T + mean, precision**-0.5).to_event(1), obs=x)


def bayesian(x, components):
    d = x.shape[1]
    relevance = ppl.sample("relevance", dist.Gamma(1, 1).expand([components]).to_event(1))
    w = ppl.sample("w", dist.Normal(0, relevance**-0.5).expand([d, components]).to_event(2))
    precision = ppl.sample("precision", dist.Gamma(1, 1))
    with ppl.plate("rows", len(x)):
        z = ppl.sample("z", dist.Normal(0, 1).expand([components]).to_event(1))
        ppl.sample("x", dist.Normal(z @ w.T, precision**-0.5).to_event(1), obs=x)


def autoencoder(x, components):
    d = x.shape[1]
    encode = ppl.param("encode", lambda rng, rows: 0.1 * rng.standard_normal((d, components)))
    decode = ppl.param("decode", lambda rng, rows: 0.1 * rng.standard_normal((components, d)))
    precision = ppl.param("precision", 1.0, constraint=constraints.positive)
    with ppl.plate("rows", len(x)):
        ppl.sample("x", dist.Normal(x @ encode @ decode, precision**-0.5).to_event(1), obs=x)


def subspace(w):
    """The projection onto the columns of a matrix."""
    q, _ = np.linalg.qr(w)
    return q @ q.T


def main(plot=None):
    x = generate()
    vectors = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:TRUTH].T
    fit = ppl.infer(learned, x, TRUTH, algorithm=ppl.EM(tolerance=1e-12), progress=False)
    gap = float(np.abs(subspace(fit.params["w"]) - subspace(vectors)).max())
    noise = float(fit.params["precision"] ** -0.5)
    print(f"maximum likelihood {fit.elbo:.2f}, noise {noise:.3f} (truth {NOISE})")
    print(f"largest difference between its subspace and that of PCA: {gap:.1e}")
    centred = x - x.mean(0)
    coder = ppl.infer(autoencoder, centred, TRUTH, algorithm=ppl.EM(tolerance=1e-12), progress=False)
    code_gap = float(np.abs(subspace(coder.params["decode"].T) - subspace(vectors)).max())
    lost = float(np.mean((centred - centred @ coder.params["encode"] @ coder.params["decode"]) ** 2))
    least = float(np.mean((centred - centred @ vectors @ vectors.T) ** 2))
    print(
        f"a linear autoencoder: its subspace differs by {code_gap:.1e}; it loses {lost:.5f} a number, PCA {least:.5f}"
    )
    bounds = {}
    for components in (1, 2, 3):
        posterior = ppl.infer(bayesian, x, components, algorithm="cavi", progress=False)
        bounds[components] = posterior.elbo
        print(f"{components} components: bound {posterior.elbo:.2f}")
    best = max(bounds, key=bounds.get)
    print(f"best: {best} components")
    if plot:
        draw(x, fit, vectors, bounds, plot)
    codes = {"code_gap": code_gap, "lost": lost, "least": least}
    return {"fit": fit, "gap": gap, "noise": noise, "bounds": bounds, "best": best, **codes}


def draw(x, fit, vectors, bounds, path):
    """Scores of PCA and posterior means with their sds, in one frame; and the bound by how many components."""
    import matplotlib.pyplot as plt

    scores = (x - x.mean(0)) @ vectors
    z = fit["z"].mean
    turn = np.linalg.lstsq(z, scores, rcond=None)[0]  # latents are known up to a rotation and a scale
    tril = fit.params["z.scale_tril"]
    spread = np.linalg.norm(np.einsum("nij,ik->njk", tril, turn), axis=1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), width_ratios=(2, 1), layout="constrained")
    left.errorbar(*(z @ turn).T, xerr=spread[:, 0], yerr=spread[:, 1], fmt="none", ecolor="0.8", label="posterior sd")
    left.scatter(*scores.T, s=8, zorder=3, label="PCA")
    left.set(xlabel="first component", ylabel="second component", title="PPCA's posterior around PCA's scores")
    left.legend()
    right.plot(list(bounds), list(bounds.values()), "o-")
    right.set(xlabel="components", ylabel="bound", title="how many there are", xticks=list(bounds))
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of scores and posterior")
    main(**vars(parser.parse_args()))
