"""Which estimator, and why: one model, every gradient estimator that fits, and what each costs.

Readings along a line, of which some come from a broken sensor and are two too high. The slope is a
Gaussian latent, each switch a Bernoulli: no gradient runs through a switch, one runs through the slope.

To learn here:

- `ppl.gradient(..., estimators="all")` gives value, gradient, variance and counted cost for each
  estimator, at all sites that it fits; the other sites keep the one chosen for them;
- here the exact gradient is known, so that each can be checked: the relaxations are quick and wrong,
  and say so in their reason;
- `ppl.infer` would sum the switches out, which is exact; with a guide that draws them, as here, it takes the
  pathwise gradient for the slope and the score function for the switches, and a short pilot picks the control
  variate by variance times cost: `fit.explain()` has the figures;
- `estimator="..."` at a site asks for another one.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

RATE, JUMP = 0.3, 2.0
AT = {"slope.loc": 0.8, "slope.scale": 0.3}


def readings(seed=2):
    """Twelve readings; three from a broken sensor."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-2.0, 2.0, 12)
    y = x + rng.standard_normal(12)
    y[[2, 5, 9]] += JUMP
    return x, y


def sensors(x, y=None):
    slope = ppl.sample("slope", dist.Normal(0, 1))
    with ppl.plate("readings", len(x)):
        broken = ppl.sample("broken", dist.Bernoulli(probs=RATE))
        ppl.sample("y", dist.Normal(slope * x + JUMP * broken, 1.0), obs=y)


def switches_drawn(x, y=None):
    """A guide that draws every switch."""
    spread = ppl.param("slope.scale", 0.3, constraints.positive)
    ppl.sample("slope", dist.Normal(ppl.param("slope.loc", 0.0), spread))
    with ppl.plate("readings", len(x)):
        p = ppl.param("broken.probs", np.full(len(x), 0.5), constraints.unit_interval)
        ppl.sample("broken", dist.Bernoulli(probs=p))


def exact_gradient(x, y, p, loc):
    """d bound / d P(broken): the log odds that data and prior give, less those of the guide."""
    evidence = JUMP * (y - loc * x) - 0.5 * JUMP**2
    return evidence + np.log(RATE / (1 - RATE)) - np.log(p / (1 - p))


def main(plot=None, draws=40_000):
    x, y = readings()
    at = {**AT, "broken.probs": np.full(len(x), 0.3)}
    exact = exact_gradient(x, y, at["broken.probs"], at["slope.loc"])
    few = ppl.gradient(sensors, x, y=y, guide=switches_drawn, params=at, estimators="all", particles=2)
    many = ppl.gradient(sensors, x, y=y, guide=switches_drawn, params=at, estimators="all", particles=draws)

    rows = {}
    for name, record in few.items():
        error = np.sqrt(many[name].variance["broken.probs"] / draws)
        rows[name] = {
            "estimator": record.estimators["broken"][0],
            "off": float(np.max(np.abs(many[name].grad["broken.probs"] - exact) / (error + 1e-9))),
            "variance": float(np.mean(record.variance["broken.probs"])),
            "cost": record.cost,
        }
    base = rows["leave-one-out"]["variance"] * rows["leave-one-out"]["cost"]
    print("The gradient in P(broken), two draws a step; off: the largest distance from the exact gradient, in")
    print(f"standard errors of {draws:,} draws; at equal cost: variance x cost, over leave-one-out's.\n")
    print(f"{'estimators=':20}{'of the switches':20}{'off':>8}{'variance':>11}{'cost':>7}{'at equal cost':>15}")
    for name, r in sorted(rows.items(), key=lambda item: item[1]["variance"] * item[1]["cost"]):
        r["relative"] = r["variance"] * r["cost"] / base
        said = "  biased" if "biased" in few[name].estimators["broken"][1].why else ""
        print(
            f"{name:20}{r['estimator']:20}{r['off']:8.1f}{r['variance']:11.3g}{r['cost']:7d}{r['relative']:15.3g}{said}"
        )

    fit = ppl.infer(sensors, x, y=y, guide=switches_drawn)
    print()
    print(fit.verdict)
    print()
    print(fit.explain())
    if plot:
        draw(rows, plot)
    return {"rows": rows, "fit": fit, "exact": exact, "few": few, "many": many}


def draw(rows, path):
    """A bar for each estimator: variance times cost, on a logarithmic axis."""
    import matplotlib.pyplot as plt

    names = sorted(rows, key=lambda n: -rows[n]["relative"])
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    colors = ["tab:red" if rows[n]["off"] > 5 else "tab:blue" for n in names]
    axes.barh(names, [rows[n]["relative"] for n in names], color=colors)
    axes.set(xscale="log", xlabel="variance x counted cost, over leave-one-out's (red: biased)")
    ticks = [t for t in (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100) if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save the table as a picture")
    main(**vars(parser.parse_args()))
