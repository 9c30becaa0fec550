"""Calm days and stormy ones: ten years of share prices as a hidden Markov model.

Every day's return is normal around zero, and how wide depends on a hidden state; the state of a day depends on that
of the day before. Precisions and rows of the transition matrix have conjugate priors, so that everything has an
update in closed form, and all days are one block: forward-backward keeps their dependence.

To learn here:

- `ppl.scan`, a loop over time that costs one operation whatever its length; a loop of Python gives the same answer;
- nothing is said about chains or conjugacy: both are found in the model, and `fit.explain()` says so;
- `fit["z"].probs`, the probability of every state on every day.

The returns are those of the S&P 500 from 2006 to 2016, where the folder that $PPL_DATA names has them
(classic/sp500_pyro.csv); without it, 1,500 days are drawn from such a model.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import ppl
import ppl.distributions as dist

FILE = "classic/sp500_pyro.csv"
STATES = 3
SPREAD = np.array([0.5, 1.5, 4.0])  # of the generated days
MOVES = np.array([[0.98, 0.02, 0.0], [0.02, 0.96, 0.02], [0.0, 0.04, 0.96]])


def returns():
    """Daily returns in percent, and whether they are real."""
    path = Path(os.environ.get("PPL_DATA", "../shared/data")) / FILE
    if path.exists():
        return np.genfromtxt(path, delimiter=",", skip_header=1, usecols=-1), True
    return generate()[0], False


def generate(days=1500, seed=0):
    """Returns, and the state of every day."""
    rng = np.random.default_rng(seed)
    z = np.zeros(days, int)
    for t in range(1, days):
        z[t] = rng.choice(STATES, p=MOVES[z[t - 1]])
    return SPREAD[z] * rng.standard_normal(days), z


def regimes(y, states=STATES):
    start = ppl.sample("start", dist.Dirichlet(np.ones(states)))
    with ppl.plate("states", states):
        row = ppl.sample("row", dist.Dirichlet(np.ones(states)))
        precision = ppl.sample("precision", dist.Gamma(1, 1))
    first = ppl.sample("first", dist.Categorical(start))
    ppl.sample("y_first", dist.Normal(0, precision[first] ** -0.5), obs=y[0])

    def day(z, y_t):
        z = ppl.sample("z", dist.Categorical(row[z]))
        ppl.sample("y", dist.Normal(0, precision[z] ** -0.5), obs=y_t)
        return z, None

    ppl.scan(day, first, y[1:])


def main(plot=None):
    y, real = returns()
    fit = ppl.infer(regimes, y, algorithm="cavi", progress=False)
    q = fit.params
    sd = np.sqrt(q["precision.rate"] / q["precision.concentration"])
    order = np.argsort(sd)
    row = (q["row.concentration"] / q["row.concentration"].sum(1, keepdims=True))[order][:, order]
    probs = np.concatenate([fit["first"].probs[None], fit["z"].probs])[:, order]
    print(fit.verdict)
    print()
    print(next(line.strip() for line in fit.explain().splitlines() if "closed-form updates of" in line))
    print(f"{len(y)} days of {'the S&P 500' if real else 'generated returns'}: bound {fit.elbo:.2f}")
    print(f"{'sd (%)':>8}{'share of days':>16}{'days in a row':>16}")
    for k in range(STATES):
        print(f"{sd[order][k]:8.2f}{probs[:, k].mean():16.0%}{1 / (1 - row[k, k]):16.0f}")
    if plot:
        draw(y, probs, sd[order], real, plot)
    return {"fit": fit, "y": y, "sd": sd[order], "row": row, "probs": probs, "real": real}


def draw(y, probs, sd, real, path):
    """Returns, with the most probable state behind them; and the states' probabilities."""
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(8, 5), height_ratios=[2, 1])
    colours, days = plt.cm.YlOrRd(np.linspace(0.15, 0.75, len(sd))), np.arange(len(y))
    best = probs.argmax(1)
    for k, colour in enumerate(colours):
        where = {"where": best == k, "step": "mid", "transform": top.get_xaxis_transform()}
        top.fill_between(days, 0, 1, **where, color=colour, alpha=0.6, lw=0, label=f"sd {sd[k]:.2f} %")
    top.plot(days, y, lw=0.5, color="black")
    top.set_ylabel("daily return (%)")
    top.legend(loc="lower right", ncols=len(sd), fontsize=8, title="most probable state", title_fontsize=8)
    top.set_title("S&P 500 from September 2006" if real else "generated returns")
    bottom.stackplot(days, probs.T, colors=colours, lw=0)
    bottom.set(xlabel="trading day", ylabel="probability", ylim=(0, 1), xlim=(0, len(y) - 1))
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the states")
    main(**vars(parser.parse_args()))
