"""A posterior bent like a banana: what a Gaussian guide misses, and what flows find.

`y = z_1 - z_0^2 / 2 + noise` leaves a crescent of pairs z. A Gaussian with full covariance holds a part of it; a flow
bends a Gaussian until it fits. Two numbers can be integrated on a grid, so the evidence is known.

To learn here:

- a flow is a network whose output is a transform: `ppl.module("flow", net)()` stands in a guide like any transform;
- the bound says how much of the posterior a guide misses: its gap to the evidence is the divergence.

`--full` takes five times as many steps, and deeper flows.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn

PRIOR, NOISE, OBSERVED = 2.0, 0.3, -1.0


def model():
    z = ppl.sample("z", dist.Normal(np.zeros(2), PRIOR).to_event(1))
    ppl.sample("y", dist.Normal(z[1] - 0.5 * z[0] ** 2, NOISE), obs=OBSERVED)


def flows(full):
    depth, width = (8, 32) if full else (4, 16)
    turned = [k % 2 == 1 for k in range(depth)]
    return {
        "planar": nn.Flow(*[nn.Planar(2) for _ in range(2 * depth)]),
        "coupling": nn.Flow(*[nn.Coupling(2, width, reverse=r) for r in turned]),
        "autoregressive": nn.Flow(*[nn.InverseAutoregressive(2, width, reverse=r) for r in turned]),
    }


def guided_by(flow):
    def guide():
        loc = ppl.param("loc", np.zeros(2))
        scale = ppl.param("scale", np.ones(2), constraint=dist.constraints.positive)
        base = dist.Normal(loc, scale).to_event(1)
        ppl.sample("z", dist.TransformedDistribution(base, ppl.module("flow", flow)()))

    return guide


def exact(points=1201):
    """The log evidence, and the posterior on a grid."""
    axis = np.linspace(-12, 12, points)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    joint = dist.Normal(np.zeros(2), PRIOR).to_event(1).log_prob(z)
    joint = joint + dist.Normal(z[..., 1] - 0.5 * z[..., 0] ** 2, NOISE).log_prob(OBSERVED)
    evidence = np.log(np.exp(joint).sum() * (axis[1] - axis[0]) ** 2)
    return float(evidence), axis, np.exp(joint - evidence)


def main(full=False, plot=None):
    evidence, axis, density = exact()
    algorithm = ppl.BBVI(steps=10_000 if full else 2_000, particles=16, optimizer=ppl.optim.Adam(0.01))
    fits = {"Gaussian": ppl.infer(model, guide="fullrank", progress=False)}
    for name, flow in flows(full).items():
        fits[name] = ppl.infer(model, guide=guided_by(flow), algorithm=algorithm, progress=False)
    print(f"log evidence {evidence:.3f}")
    gaps = {}
    for name, fit in fits.items():
        gaps[name] = evidence - fit.elbo
        said = f"{name:14} bound {fit.elbo:.3f} (s.e. {fit.elbo_se:.3f}), {gaps[name]:.2f} nats below"
        print(f"{said}; sd {fit['z'].sd.round(2)}")
    mean = np.array([np.sum(density * z) for z in (axis[:, None], axis)]) * (axis[1] - axis[0]) ** 2
    square = np.array([np.sum(density * z**2) for z in (axis[:, None], axis)]) * (axis[1] - axis[0]) ** 2
    sd = np.sqrt(square - mean**2)
    print(f"{'exact':14} sd {sd.round(2)}")
    if plot:
        draw(fits, axis, density, plot)
    return {"fits": fits, "evidence": evidence, "gaps": gaps, "sd": sd}


def draw(fits, axis, density, path):
    """Draws of each guide on the contours of the posterior."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(fits), figsize=(3 * len(fits), 3.2), sharey=True, layout="constrained")
    levels = density.max() * np.array([0.01, 0.05, 0.2, 0.5])
    for axes_of, (name, fit) in zip(axes, fits.items(), strict=True):
        z = fit.sample(1500, seed=0)["z"]
        axes_of.plot(*z.T, ".", markersize=2, alpha=0.35)
        axes_of.contour(axis, axis, density.T, levels=levels, colors="k", linewidths=0.7)
        axes_of.set(title=name, xlim=(-5, 5), ylim=(-3, 8), xlabel="$z_0$")
    axes[0].set_ylabel("$z_1$")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="more steps, deeper flows")
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the guides' draws")
    main(**vars(parser.parse_args()))
