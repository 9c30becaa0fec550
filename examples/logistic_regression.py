"""Logistic regression: is a tumour malignant, and how sure are we of each coefficient?

The data are scikit-learn's breast cancer set (569 tumours, 30 measurements); without scikit-learn,
data of the same shape are generated. A quarter of the rows is held out.

To learn here:

- one vector site with `to_event(1)`: 31 coefficients as a single event;
- the guide matters: the measurements are strongly correlated, so is the posterior, and a mean-field
  guide makes every coefficient look too certain. A full-rank guide does not; its bound is higher;
- what a point estimate leaves out: the mode (penalised maximum likelihood) stands beside mean and sd;
- `fit.predict` for new rows.
"""

import argparse

import numpy as np
from scipy.optimize import minimize

import ppl
import ppl.distributions as dist


def load():
    """Standardised measurements, outcome (1 = malignant), and names of the measurements."""
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((569, 30)) @ (np.eye(30) + 0.3 * rng.standard_normal((30, 30)))
        w = rng.standard_normal(30)
        y = (rng.random(569) < 1 / (1 + np.exp(-x @ w / 2))).astype(float)
        names = [f"x{j}" for j in range(30)]
    else:
        data = load_breast_cancer()
        x, y, names = data.data, 1.0 - data.target, list(data.feature_names)
    return (x - x.mean(0)) / x.std(0), y, names


def logistic_regression(x, y=None):
    intercept = ppl.sample("intercept", dist.Normal(0, 5))
    w = ppl.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with ppl.plate("rows", len(x)):
        ppl.sample("y", dist.Bernoulli(logits=intercept + x @ w), obs=y)


def mode(x, y):
    """The posterior mode of (intercept, w): maximum likelihood, penalised by the prior."""
    design, precision = np.column_stack([np.ones(len(x)), x]), np.array([1 / 25] + [1.0] * x.shape[1])

    def loss(b):
        eta = design @ b
        value = np.sum(np.logaddexp(0.0, eta) - y * eta) + 0.5 * b @ (precision * b)
        return value, design.T @ (1 / (1 + np.exp(-eta)) - y) + precision * b

    return minimize(loss, np.zeros(design.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-6}).x


def main(plot=None):
    x, y, names = load()
    test = np.random.default_rng(0).permutation(len(y))[: len(y) // 4]
    train = np.setdiff1d(np.arange(len(y)), test)
    at_mode = mode(x[train], y[train])
    mean_field = ppl.infer(logistic_regression, x[train], y=y[train], guide="meanfield")
    fit = ppl.infer(logistic_regression, x[train], y=y[train], guide="fullrank")

    print(fit.verdict)
    print()
    print(f"ELBO: mean-field guide {mean_field.elbo:.2f}, full-rank guide {fit.elbo:.2f}")
    print()
    print("The ten largest coefficients")
    print()
    print(f"{'':26}{'mode':>8}{'mean':>8}{'sd':>8}{'mean-field sd':>16}")
    w = fit["w"]
    for j in np.argsort(-np.abs(w.mean))[:10]:
        print(f"{names[j]:26}{at_mode[1 + j]:8.2f}{w.mean[j]:8.2f}{w.sd[j]:8.2f}{mean_field['w'].sd[j]:16.2f}")
    probability = fit.predict(x[test], num_samples=400)["y"].mean(0)
    accuracy = float(np.mean((probability > 0.5) == y[test]))
    print()
    print(f"held out: {accuracy:.1%} of {len(test)} tumours told apart")
    if plot:
        fit.plot().savefig(plot)
    return {"fit": fit, "mean_field": mean_field, "mode": at_mode, "accuracy": accuracy, "train": (x[train], y[train])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the fit")
    main(**vars(parser.parse_args()))
