"""The table of families is up to date, and says of each what its distributions answer."""

from __future__ import annotations

import pytest

import ppl.distributions as dist
from ppl.distributions import document

ROWS = {line.split(" | ")[0].removeprefix("| "): line for line in document.table().splitlines() if line[:2] == "| "}


def test_the_table_is_up_to_date():
    assert document.PLACE.read_text() == document.table(), "run python -m ppl.distributions.document"


def test_the_table_names_every_family_once():
    assert set(ROWS) == {"family", *dist.FAMILIES}
    assert len(ROWS) == sum(line[:2] == "| " for line in document.table().splitlines())


@pytest.mark.parametrize(
    ("family", "cells"),
    [
        ("Uniform", ["a number in [low, high]", "low: real, high: real", "explicit, uniform", "Uniform, Beta, "]),
        ("Poisson", ["nonnegative_integer", "rate: nonnegative", "pathless", "| x |"]),
        ("Binomial", ["an integer in [0, total_count]", "x; total_count known", "Binomial (alike)", "enumeration"]),
        ("MultivariateNormal", ["real_vector", "scale_tril: lower_cholesky]", "x, x x^T", "LowRankMultivariateNormal"]),
        ("Wishart", ["positive_definite", "implicit", "log det x, x"]),
    ],
)
def test_what_a_row_says(family, cells):
    for cell in cells:
        assert cell in ROWS[family]


@pytest.mark.parametrize("name", dist.FAMILIES)
def test_the_example_of_a_family_is_one(name):
    assert type(document.example(dist.FAMILIES[name])) is dist.FAMILIES[name]
