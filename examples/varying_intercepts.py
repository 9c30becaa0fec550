"""Varying intercepts: how much should a small group borrow from the others?

Pupils sit in classes; a score depends on hours of study and on the class. Some classes have two
pupils, some have forty. Three answers to "what is the intercept of this class?":

- from its own pupils alone: wild where there are few;
- one intercept for everybody: blind to real differences;
- a common distribution whose spread is learnt too: small classes are pulled towards the mean, large
  ones keep their own number. This is the varying-intercept model.

To learn here:

- a plate for classes, another for pupils, and indexing from one into the other: `a[group]`;
- positive unknowns need nothing special: the guide works on their logarithm;
- a `deterministic` is kept in every result like a site: here `share`, the part of the variance that lies
  between classes.

The data are generated with a fixed seed, so the true intercepts are known.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist

SIZES = np.array([2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8, 10, 15, 25, 40])
SLOPE, SPREAD, NOISE = 1.5, 1.5, 3.0


def generate(seed=0):
    """Hours, scores, class of each pupil, and the true intercept of each class."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(SIZES)), SIZES)
    truth = 10.0 + SPREAD * rng.standard_normal(len(SIZES))
    hours = rng.normal(0.0, 1.0, len(group))
    score = truth[group] + SLOPE * hours + NOISE * rng.standard_normal(len(group))
    return hours, score, group, truth


def varying_intercepts(hours, group, classes, score=None):
    mean = ppl.sample("mean", dist.Normal(10, 10))
    spread = ppl.sample("spread", dist.HalfNormal(5))
    slope = ppl.sample("slope", dist.Normal(0, 5))
    noise = ppl.sample("noise", dist.HalfNormal(5))
    ppl.deterministic("share", spread**2 / (spread**2 + noise**2))
    with ppl.plate("classes", classes):
        a = ppl.sample("a", dist.Normal(mean, spread))
    with ppl.plate("pupils", len(hours)):
        ppl.sample("score", dist.Normal(a[group] + slope * hours, noise), obs=score)


def least_squares(hours, score, group):
    """An intercept for each class from its own pupils, with a common slope."""
    design = np.column_stack([np.equal.outer(group, np.arange(group.max() + 1)).astype(float), hours])
    solution = np.linalg.lstsq(design, score, rcond=None)[0]
    return solution[:-1], solution[-1]


def main(plot=None):
    hours, score, group, truth = generate()
    alone, slope = least_squares(hours, score, group)
    fit = ppl.infer(varying_intercepts, hours, group, len(SIZES), score=score)
    a = fit["a"]
    summary = fit.summary()
    print(fit.verdict)
    print()
    print(f"{'':8}{'mean':>8}{'sd':>8}{'5%':>8}{'95%':>8}")
    for name in ("mean", "spread", "slope", "noise", "share"):
        row = summary[name]
        print(f"{name:8}{row['mean']:8.2f}{row['sd']:8.2f}{row['5%']:8.2f}{row['95%']:8.2f}")
    print()
    print(f"{'class':>5}{'pupils':>8}{'alone':>9}{'pooled':>9}{'sd':>7}{'truth':>9}")
    for j, size in enumerate(SIZES):
        print(f"{j:5d}{size:8d}{alone[j]:9.2f}{a.mean[j]:9.2f}{a.sd[j]:7.2f}{truth[j]:9.2f}")
    off_alone, off_pooled = (float(np.sqrt(np.mean((x - truth) ** 2))) for x in (alone, a.mean))
    print()
    print(f"distance from the truth (root mean square): alone {off_alone:.2f}, pooled {off_pooled:.2f}")
    print(f"slope: least squares {slope:.2f}, posterior {fit['slope'].mean:.2f} ± {fit['slope'].sd:.2f}, truth {SLOPE}")
    if plot:
        fit.plot().savefig(plot)
    data = {"hours": hours, "score": score, "group": group, "truth": truth}
    return {"fit": fit, "alone": alone, "slope": slope, "off_alone": off_alone, "off_pooled": off_pooled, "data": data}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the fit")
    main(**vars(parser.parse_args()))
