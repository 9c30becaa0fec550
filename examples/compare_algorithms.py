"""Which algorithm for this model? Side by side, with a referee, and the checks that a colleague will ask for.

Poisson counts from twelve sites that differ more than chance allows: each has a log rate of its own, and how much
these differ is unknown. Such a hierarchy is where algorithms part: a mode has the wrong scale, a factorised
Gaussian is too narrow, and a sampler is right but slow.

To learn here:

- `ppl.compare` runs what applies, and says of the rest why it does not; a referee, here NUTS, gives the errors;
- the verdict of a fit and its error against the referee tell the same story: what is trusted is right;
- `ppl.predictive_check` asks whether the data look like the model's own; a simpler model without differences
  between the sites fails it, on a statistic that you name;
- `fit.report("page.html")` is what to send around.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist

COUNTS = np.array([11, 3, 8, 25, 4, 14, 2, 9, 31, 6, 12, 5])
EFFORT = np.array([2.0, 1.0, 1.5, 2.5, 1.0, 2.0, 1.0, 1.5, 2.0, 1.0, 2.0, 1.0])


def varying(effort, counts):
    level = ppl.sample("level", dist.Normal(0, 3))
    spread = ppl.sample("spread", dist.HalfNormal(1))
    with ppl.plate("sites", len(counts)):
        log_rate = ppl.sample("log_rate", dist.Normal(level, spread))
        ppl.sample("counts", dist.Poisson(effort * np.exp(log_rate)), obs=counts)


def constant(effort, counts):
    level = ppl.sample("level", dist.Normal(0, 3))
    with ppl.plate("sites", len(counts)):
        ppl.sample("counts", dist.Poisson(effort * np.exp(level)), obs=counts)


def spread_of(counts):
    """Variance of the counts per effort by what chance alone would make of it."""
    rates = counts / EFFORT
    return np.var(rates) / np.mean(rates / EFFORT)


def main(plot=None, report=None):
    referee = ppl.infer(varying, EFFORT, COUNTS, algorithm=ppl.NUTS(steps=500), progress=False)
    found = ppl.compare(
        varying,
        EFFORT,
        COUNTS,
        algorithms=["auto", "meanfield", "fullrank", "cavi", "dadvi", "laplace", "pathfinder", "map", "em"],
        referee=referee,
        progress=False,
    )
    print("The referee\n")
    print(referee.verdict)
    print("\nSide by side\n")
    print(found)
    best = found[found.best]
    checks = {
        name: ppl.predictive_check(fit, statistics=[spread_of, np.max])
        for name, fit in (("varying", best), ("constant", ppl.infer(constant, EFFORT, COUNTS, progress=False)))
    }
    for name, check in checks.items():
        print(f"\nWith {name} rates\n\n{check}")
    if plot:
        found.plot().savefig(plot, dpi=110)
        print(f"\nThe picture is in {plot}.")
    if report:
        best.report(report)
        print(f"\nThe page is in {report}.")
    return {"referee": referee, "found": found, "checks": checks}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save the bounds against time as a picture")
    parser.add_argument("--report", metavar="FILE", help="save a page on the best fit")
    arguments = parser.parse_args()
    main(arguments.plot, arguments.report)
