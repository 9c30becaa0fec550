"""The page on a fit: what it shows, parsed; that nothing is fetched; that text of users cannot become markup."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints
from ppl.fit.report import page

EFFECT = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
ERROR = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
SECTIONS = ["verdict", "summary", "marginals", "checks", "history", "bound", "graph"]
EMPTY = {"meta", "img", "br"}


def eight_schools(sigma, y=None):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(sigma)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


class Page(HTMLParser):
    """Text and pictures by section, tables as rows, and whatever points outside."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.text, self.images, self.rows, self.outside, self.section = [], {}, {}, {}, [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "section":
            self.section = attrs["id"]
        if tag == "img":
            self.images.setdefault(self.section, []).append((attrs["alt"], attrs["src"]))
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        self.outside += [v for k, v in attrs.items() if k in ("href", "src") and not v.startswith(("#", "data:"))]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data):
        self.text[self.section] = self.text.get(self.section, "") + data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[self.section][-1].append(data)


@pytest.fixture(scope="module")
def fit():
    return ppl.infer(eight_schools, ERROR, y=EFFECT, progress=False)


@pytest.fixture(scope="module")
def found(fit):
    return Page(page(fit))


def test_the_page_is_well_formed_and_fetches_nothing(found):
    assert not found.open and not found.outside
    assert [s for s in found.text if s] == SECTIONS


def test_it_begins_with_the_verdict(fit, found):
    text = " ".join(found.text["verdict"].split())
    assert fit.verdict.word in text and fit.verdict.stop_reason in text and f"ELBO {fit.elbo:.2f}" in text
    assert all(w[1:] in text for w in fit.verdict.warnings)


def test_its_table_is_the_summary(fit, found):
    head, *rows = found.rows["summary"]
    assert head[-5:] == ["mean", "sd", "5%", "50%", "95%"]
    assert [r[0] for r in rows] == [n for n, _ in fit.summary().rows]
    assert float(rows[1][1]) == pytest.approx(float(fit["tau"].mean), rel=1e-3)


def test_its_pictures_are_inside(found):
    assert {s: len(x) for s, x in found.images.items()} == {"marginals": 1, "checks": 1, "history": 1, "graph": 1}
    for images in found.images.values():
        for alt, source in images:
            assert alt and base64.b64decode(source.removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG"


def test_checks_bound_and_graph(fit, found):
    names = [row[0] for row in found.rows["checks"]]
    assert names == ["statistic", "mean", "sd", "smallest", "largest"]
    assert float(found.rows["checks"][1][1]) == pytest.approx(EFFECT.mean())
    assert fit.explain() in found.text["bound"] and str(fit.graph) in found.text["graph"]


def learned(y):
    s = ppl.param("s", 1.0, constraint=constraints.positive)
    z = ppl.sample("z", dist.ImproperUniform(constraints.real, (), ()))
    k = ppl.sample("k", dist.Bernoulli(0.3))
    with ppl.plate("<b>rows & more</b>", len(y)):
        ppl.sample("y", dist.Normal(z + k, s), obs=y)


def test_flat_priors_counts_and_strange_names():
    found = Page(page(ppl.infer(learned, np.array([1.0, 2.0, 4.0]), progress=False)))
    assert not found.open and [s for s in found.text if s] == SECTIONS
    assert "No prior is shown" in found.text["marginals"] and "Learned parameters" in found.text["summary"]
    assert "<b>rows & more</b>" in found.text["graph"]


@pytest.mark.parametrize("algorithm", ["pathfinder", "map", ppl.NUTS(steps=60, chains=2, warmup=40)])
def test_other_kinds_of_fits(algorithm):
    found = Page(page(ppl.infer(eight_schools, ERROR, y=EFFECT, algorithm=algorithm, progress=False)))
    assert not found.open and [s for s in found.text if s] == SECTIONS


def test_it_is_written_or_refused(fit, tmp_path):
    fit.report(tmp_path / "fit.html")
    assert (tmp_path / "fit.html").read_text().startswith("<!doctype html>")
    with pytest.raises(ppl.DataError, match="cannot be written"):
        fit.report(tmp_path / "nowhere" / "fit.html")
