"""The table: what a cell shows when a fit comes back, fails, or does not end."""

from __future__ import annotations

import os

import pytest

from . import table
from .models import POSTERIORS

P = POSTERIORS[0]


def spin(*_, **__):
    while True:
        pass


def fail(*_, **__):
    raise ValueError("no such thing\nand more")


def vanish(*_, **__):
    os._exit(1)


@pytest.mark.parametrize(
    ("fit", "said"),
    [(spin, "more than 0 s"), (fail, "ValueError: no such thing"), (vanish, "the process ended without an answer")],
)
def test_a_fit_that_fails_says_so_in_its_cell(monkeypatch, fit, said):
    monkeypatch.setattr(table, "compare", fit)
    found = table.limited(P, {}, 0, 0.2)
    assert (found.grade, str(found)) == ("failed", said)


def test_a_wrong_fit_that_is_trusted_is_a_silent_failure(monkeypatch):
    cells = iter([table.Cell("wrong", 3.0, "mu", 0.4, 1.0, 0.3, "trusted", 1.0), table.Cell("good", word="trusted")])
    monkeypatch.setattr(table, "limited", lambda *_: next(cells))
    text = "\n".join(table.lines([P], {"a": {}, "b": {}}, 0, 1.0))
    assert "SILENT" in text
    counts = {tuple(line.split()[:2]): line.split()[-7:] for line in text.splitlines() if " all " in line}
    assert counts == {("a", "all"): list("1001010"), ("b", "all"): list("1100001")}


def test_the_halves_are_thirteen_and_thirteen():
    first, second = table.HALVES.values()
    assert (len(first), len(second), len(first | second)) == (13, 13, 26)
    assert max(map(str.lower, first)) < min(map(str.lower, second))
