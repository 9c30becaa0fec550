"""Comparisons: figures that are known, what does not apply, budgets, and how the table reads."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

Y = np.array([0.3, -1.2, 2.0, 0.7, 1.5])


def model(y):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, 1), obs=y)


SD = (1 / 4 + len(Y)) ** -0.5
MEAN = SD**2 * Y.sum()
EVIDENCE = stats.multivariate_normal(np.zeros(5), np.eye(5) + 4).logpdf(Y)
REFEREE = {"mu": (MEAN, SD)}


@pytest.fixture(scope="module")
def found():
    return ppl.compare(model, Y, referee=REFEREE, progress=False)


def test_every_usual_algorithm_has_a_row(found):
    assert found.rows[0].name == "auto" and {"cavi", "pathfinder", "em"} <= {r.name for r in found.rows}
    assert {r.name for r in found.rows if r.fit is None} == {"em"}
    em = next(r for r in found.rows if r.name == "em")
    assert "without learned parameters" in em.why_not and "em: " in str(found)


def test_bounds_and_errors_are_right(found):
    for row in found.rows:
        if row.bound is not None:  # the family holds the posterior: the bound is the evidence
            assert row.bound == pytest.approx(EVIDENCE, abs=4 * row.fit.elbo_se + 0.02), row.name
            assert row.error < 0.15, row.name
            assert row.ratios == pytest.approx((1, 1), abs=0.15), row.name
    assert next(r for r in found.rows if r.name == "cavi").error < 1e-9
    assert next(r for r in found.rows if r.name == "map").bound is None
    assert "a point has no bound" in str(found)


def test_a_referee_that_is_elsewhere_shows():
    moved = ppl.compare(model, Y, algorithms=["cavi"], referee={"mu": (MEAN + SD, 2 * SD)}, progress=False)
    assert moved.rows[0].error == pytest.approx(0.5) and moved.rows[0].ratios == pytest.approx((0.5, 0.5))


def test_a_referee_may_be_a_fit_or_draws(found):
    draws = MEAN + SD * stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    for referee in (found["cavi"], {"mu": draws}):
        again = ppl.compare(model, Y, algorithms=["laplace"], referee=referee, progress=False)
        assert again.rows[0].error < 1e-3 and again.rows[0].ratios == pytest.approx((1, 1), abs=2e-3)


@pytest.mark.parametrize(
    "referee", [{"nu": (0.0, 1.0)}, {}, 3.0, {"mu": np.float64(2.0)}, {"mu": (np.zeros(3), np.ones(3))}]
)
def test_a_referee_of_something_else_is_refused(referee):
    with pytest.raises(ppl.ModelError):
        ppl.compare(model, Y, algorithms=["cavi"], referee=referee, progress=False)


def test_times_and_gradients(found):
    for row in found.rows:
        if row.bound is not None:
            assert 0 < found.time_to_best(row.name) <= row.seconds
            assert row.fit.solution.gradients > 0
            seconds, bounds = row.trace
            assert np.all(np.diff(seconds) >= 0) and bounds[-1] == row.bound
    assert np.isnan(found.time_to_best("map"))
    wide = ppl.compare(
        model, Y, algorithms={"narrow": {"guide": narrow, "algorithm": "bbvi"}, "cavi": "cavi"}, progress=False
    )
    assert wide.time_to_best("narrow") == np.inf and wide.best == "cavi"


def narrow(y):
    ppl.sample("mu", dist.Normal(ppl.param("loc", 0.0), 0.2 * SD))


def test_a_budget_is_kept_or_noted():
    limited = ppl.compare(model, Y, algorithms=["meanfield", "laplace"], budget=480, progress=False)
    assert limited["meanfield"].solution.steps == 480 // 24
    assert "beyond the budget of 480" in str(limited)
    assert "beyond" not in str(ppl.compare(model, Y, algorithms=["cavi"], budget=480, progress=False))


def test_seeds_differ_by_name_and_are_repeated():
    one, other = (ppl.compare(model, Y, algorithms=["auto", "dadvi"], progress=False) for _ in range(2))
    assert one["auto"].seed != one["dadvi"].seed
    assert [r.fit.elbo for r in one.rows] == [r.fit.elbo for r in other.rows]


def test_names_objects_and_options():
    asked = [ppl.BBVI(steps=60), "fullrank", ppl.BBVI(steps=80)]
    found = ppl.compare(model, Y, algorithms=asked, progress=False)
    assert [r.name for r in found.rows] == ["bbvi", "fullrank", "bbvi'"] and found["bbvi"].solution.steps == 60
    with pytest.raises(ppl.ModelError, match="'dadvi'"):
        ppl.compare(model, Y, algorithms=["davi"], progress=False)
    with pytest.raises(ppl.ModelError, match="a list of names"):
        ppl.compare(model, Y, algorithms="dadvi", progress=False)
    with pytest.raises(ppl.ModelError, match="an argument 'budget'"):
        ppl.compare(lambda y, budget: None, Y, 3)


def test_the_table_as_a_frame_and_a_picture(found):
    frame = found.to_pandas()
    assert list(frame.index) == [r.name for r in found.rows]
    assert frame.loc["cavi", "elbo"] == pytest.approx(EVIDENCE) and np.isnan(frame.loc["em", "elbo"])
    axes = found.plot().axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert {"cavi", "auto"} <= set(labels) and "map" not in labels and axes.get_xlabel() == "seconds"


def test_the_printed_table_has_one_line_for_each_fit(found):
    lines = str(found).splitlines()
    assert lines[0].split() == [
        "verdict",
        "ELBO",
        "s.e.",
        "k-hat",
        "error",
        "sd",
        "ratios",
        "to",
        "best",
        "seconds",
        "gradients",
    ]
    table = lines[1 : 1 + len(found.fits)]
    assert [line.split()[0] for line in table] == list(found.fits)
    assert max(map(len, table)) <= 110 and len({len(line) for line in table if not line.endswith("-")}) == 1


def learned(y):
    loc = ppl.param("loc", 0.0)
    z = ppl.sample("z", dist.Normal(loc, 1))
    s = ppl.param("s", 1.0, constraint=constraints.positive)
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(z, s), obs=y)


def test_what_refuses_parameters_says_so():
    found = ppl.compare(learned, Y, algorithms=["auto", "nuts", "pathfinder"], progress=False)
    assert list(found.fits) == ["auto"]
    assert all("learned parameter" in r.why_not for r in found.rows[1:])
    with pytest.raises(ppl.ModelError, match="learned parameter"):
        found["nuts"]


def test_leave_one_out_by_arviz(found):
    pytest.importorskip("arviz")
    pair = ppl.compare(model, Y, algorithms=["cavi", "laplace"], progress=False).loo()
    exact = []  # leave one out, in closed form
    for i in range(len(Y)):
        rest = np.delete(Y, i)
        v = 1 / (1 / 4 + len(rest))
        exact.append(stats.norm(v * rest.sum(), np.sqrt(1 + v)).logpdf(Y[i]))
    assert pair["elpd_loo"].values == pytest.approx(sum(exact), abs=0.2)


def test_nothing_of_this_is_imported_with_the_library():
    late = ("mici", "arviz", "matplotlib", "pandas", "ppl.studies", "ppl.fit.report")
    code = f"import sys, ppl; print([m for m in {late} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_held_out_data():
    new = np.array([0.0, 1.0, 4.0])
    asked = ["auto", "cavi", "pathfinder", "map", "em"]
    found = ppl.compare(model, Y, algorithms=asked, held_out=((new,), {}), progress=False)
    exact = stats.norm(MEAN, np.sqrt(1 + SD**2)).logpdf(new).sum()
    for row in found.rows:
        if row.name == "map":  # the density at a point
            assert row.held_out == pytest.approx((stats.norm(MEAN, 1).logpdf(new).sum(), 0.0))
        elif row.fit is not None:
            value, error = row.held_out
            assert value == pytest.approx(exact, abs=4 * error + 1e-9), row.name
    assert "held out" in str(found) and found.to_pandas().loc["cavi", "held_out"] == pytest.approx(exact)
    with pytest.raises(ppl.ModelError, match="held_out"):
        ppl.compare(model, Y, held_out=new, progress=False)
