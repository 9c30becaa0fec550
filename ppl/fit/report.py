"""A fit as one page that can be shown around: HTML with its pictures inside, and nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ..errors import DataError, PPLError
from ..version import __version__
from .checks import predictive_check
from .plot import history_panel, pyplot
from .predictive import observations, prior_predictive
from .store import name_of
from .summary import COLUMNS, Summary, number

PANELS = 24  # marginals that are drawn
ELEMENTS = 60  # of a vector that are drawn
ROWS = 60  # of the table
DRAWS = 2000  # of the prior
CHECKS = 6  # observed sites that are checked

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ddd; }
.word { display: inline-block; padding: .1rem .7rem; border-radius: 1rem; color: #fff; font-weight: 600; }
.trusted { background: #2a7f3f; } .usable { background: #b07a00; } .not-trusted { background: #b3261e; }
.verdict { background: #f6f6f6; border-radius: .5rem; padding: .8rem 1rem; }
.verdict ul { margin: .3rem 0 0; padding-left: 1.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #eee; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; }
pre { background: #f6f6f6; padding: .8rem; white-space: pre-wrap; font-size: 12.5px; }
.note, footer { color: #666; font-size: .9rem; } nav a { margin-right: 1rem; } .missed td { color: #b3261e; }
"""


def report(fit: Any, path: str | os.PathLike) -> None:
    """Write the page; see `Fit.report`."""
    text = page(fit)
    try:
        with open(name_of(path), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as problem:
        got = f"'{name_of(path)}', which cannot be written: {problem.strerror}"
        raise DataError(got, "the path of a file in a folder that is there", 'fit.report("fit.html")') from problem


def page(fit: Any) -> str:
    """The whole page as text."""
    sections: dict[str, tuple[str, str]] = {"verdict": ("Verdict", _verdict(fit))}
    for key, title, make in (
        ("summary", "Posterior", _summary),
        ("marginals", "Marginals against the prior", _marginals),
        ("checks", "Predictive checks", _checks),
        ("history", "History", _history),
        ("bound", "The derived bound", _bound),
        ("graph", "The model", _graph),
    ):
        try:
            sections[key] = title, make(fit)
        except PPLError as error:
            sections[key] = title, _note(f"Not to be had: {error.got}.")
    model = getattr(fit.problem.model, "__wrapped__", fit.problem.model)
    name = escape(getattr(model, "__name__", "model"))
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, (title, _) in sections.items())
    body = "\n".join(
        f'<section id="{key}"><h2>{escape(title)}</h2>\n{text}</section>' for key, (title, text) in sections.items()
    )
    how = f"algorithm {getattr(fit.algorithm, 'name', 'unknown')}, seed {fit.seed}, ppl {__version__}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{name}: a fit</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{name}</h1>\n<nav>{links}</nav>\n{body}\n"
        f"<footer><p>{escape(how)}</p></footer>\n</body></html>\n"
    )


# -- the sections ----------------------------------------------------------------------------------------
def _verdict(fit: Any) -> str:
    v = fit.verdict
    how = "Converged" if v.converged else "Not converged"
    facts = [f"{how}: {v.stop_reason}."]
    if v.k_hat is not None:
        facts.append(f"{v.k_hat_in_words()}.")
    bound = fit.bound_in_words() + "."
    warnings = "".join(f"<li>{escape(_sentence(w))}</li>" for w in v.warnings)
    return (
        f'<div class="verdict"><p><span class="word {v.word.replace(" ", "-")}">{escape(v.word)}</span></p>'
        f"<p>{escape(' '.join([*facts, bound]))}</p>" + (f"<ul>{warnings}</ul>" if warnings else "") + "</div>\n"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _summary(fit: Any) -> str:
    table: Summary = fit.summary()
    rows = [(name, [number(x) for x in numbers]) for name, numbers in table.rows[:ROWS]]
    text = _table(("", *COLUMNS), rows) if rows else _note("There are no latent sites.")
    if len(table) > ROWS:
        text += _note(f"{len(table) - ROWS} more rows: fit.summary().")
    learned = [n.name for n in fit.graph.of_kind("parameter") if n.name in fit.params]
    if learned:
        shown = [(n, [np.array2string(fit.params[n], precision=4, threshold=10)]) for n in learned]
        text += "<h3>Learned parameters</h3>" + _table(("", "value"), shown)
    return text


def _marginals(fit: Any) -> str:
    prior, why = _prior(fit)
    names = [n for n in fit.sites if np.asarray(fit[n].mean).dtype.kind in "fiub"][:PANELS]
    if not names:
        return _note("There are no latent sites.")
    plt = pyplot()
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.9 * columns, 2.5 * rows), squeeze=False, layout="constrained")
    for ax in axes.ravel()[len(names) :]:
        ax.axis("off")
    for ax, name in zip(axes.ravel(), names, strict=False):
        _panel(ax, fit, name, prior.get(name))
    said = "Blue: the posterior. Grey: the prior." if prior else f"The posterior. No prior is shown: {why}."
    if len(fit.sites) > len(names):
        said += f" {len(fit.sites) - len(names)} more sites are not drawn."
    return _picture(figure, f"Marginals of {', '.join(names)}") + _note(said)


def _prior(fit: Any) -> tuple[Mapping[str, np.ndarray], str]:
    """Draws of the prior by site, or why there are none."""
    p = fit.problem
    try:
        return prior_predictive(p.model, *p.args, num_samples=DRAWS, seed=fit.seed, **p.kwargs), ""
    except (PPLError, NotImplementedError) as error:
        return {}, getattr(error, "got", str(error))


def _panel(ax: Any, fit: Any, name: str, prior: np.ndarray | None) -> None:
    m = fit[name]
    ax.set_title(name, fontsize=10)
    ax.tick_params(labelsize=8)
    if np.ndim(m.mean):
        _intervals(ax, m, prior)
        return
    grid = m.quantile(np.linspace(0.001, 0.999, 200))
    low, high = float(grid[0]), float(grid[-1])
    discrete = np.asarray(fit.sample(2)[name]).dtype.kind in "iub"
    if discrete:
        values = np.arange(low, high + 1)
        of = {"0.75": prior, "C0": fit.sample(2000)[name]}
        for i, (color, x) in enumerate(of.items()):
            if x is not None:
                ax.bar(values + 0.2 * (2 * i - 1), [np.mean(x == v) for v in values], width=0.4, color=color)
        ax.set_yticks([])
        return
    room = 0.15 * (high - low)
    edge = low if prior is None else min(low, float(np.min(prior)))  # no prior draw is beyond the support
    low, high = max(low - room, edge), high + room
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 50)
    if prior is not None:
        inside = np.histogram(prior, edges)[0] / len(prior) / np.diff(edges)
        ax.stairs(inside, edges, color="0.75", fill=True)
    draws = _draws(fit, name)
    ax.stairs(np.histogram(draws, edges)[0] / len(draws) / np.diff(edges), edges, color="C0", lw=1.5)
    ax.axvline(float(m.mean), color="C1", lw=1)
    ax.set_xlim(low, high)
    ax.set_yticks([])


def _draws(fit: Any, name: str) -> np.ndarray:
    """Draws as the table has them."""
    return fit.sample(4000, resample=fit.verdict.corrected)[name]


def _intervals(ax: Any, m: Any, prior: np.ndarray | None) -> None:
    mean = np.ravel(m.mean)[:ELEMENTS]
    low, high = (np.ravel(q)[:ELEMENTS] for q in m.quantile(np.array([0.05, 0.95])))
    at = np.arange(mean.size)
    ax.xaxis.get_major_locator().set_params(integer=True)
    if prior is not None:
        flat = np.reshape(prior, (len(prior), -1))[:, :ELEMENTS].astype(float)
        below, above = np.nanquantile(flat, [0.05, 0.95], axis=0)
        ax.vlines(at, below, above, color="0.8", lw=max(2.0, min(8.0, 160.0 / mean.size)))
        span = max(high.max() - low.min(), 1e-12)  # a wide prior would hide the posterior
        ax.set_ylim(max(below.min(), low.min() - span) - 0.05 * span, min(above.max(), high.max() + span) + 0.05 * span)
    ax.vlines(at, low, high, color="C0", lw=max(0.8, min(3.0, 60.0 / mean.size)))
    ax.plot(at, mean, "o", color="C1", ms=max(1.5, min(4.0, 80.0 / mean.size)))
    ax.set_xlabel("index (bar: 5 to 95 %, dot: mean)", fontsize=8)


def _checks(fit: Any) -> str:
    p = fit.problem
    names = [
        n for n, (x, there) in observations(p.model, p.args, p.kwargs).items() if x.dtype.kind in "fiub" and there.any()
    ]
    if not names:
        return _note("There are no observed sites.")
    parts = []
    for name in names[:CHECKS]:
        found = predictive_check(fit, site=name)
        single = fit.problem.sites[name].value
        if np.size(single) == 1:
            parts.append(_note(f"'{name}' is one number: its replicates are all there is to compare."))
        rows = [
            (n, [number(x) for x in (found.observed[n], *row[:3])] + [f"{row[3]:.3f}"])
            for n, row in found.rows().items()
        ]
        missed = {n for n, _ in rows if n in found.missed}
        said = f"The model hardly predicts: {', '.join(found.missed)}." if missed else "Nothing stands out."
        parts.append(f"<h3>{escape(name)}</h3>")
        parts.append(_table(("statistic", "data", "mean", "5%", "95%", "p"), rows, missed))
        parts.append(_note(said) + _picture(found.plot(), f"Replicates of {name} and the data"))
    if len(names) > CHECKS:
        parts.append(_note(f"{len(names) - CHECKS} more observed sites: ppl.predictive_check(fit, site=...)."))
    said = "p: the share of posterior replicates whose statistic is above that of the data; near 0 or 1 is a misfit."
    return "".join(parts) + _note(said)


def _history(fit: Any) -> str:
    if len(fit.history) < 2:
        return _note("The algorithm took no steps that leave a history.")
    figure, ax = pyplot().subplots(figsize=(7.5, 2.8), layout="constrained")
    history_panel(ax, fit)
    return _picture(figure, "The bound against steps")


def _bound(fit: Any) -> str:
    return f"<pre>{escape(fit.explain())}</pre>"


def _graph(fit: Any) -> str:
    return _drawn(lambda: fit.graph.draw()) + f"<pre>{escape(str(fit.graph))}</pre>"


# -- pieces of HTML --------------------------------------------------------------------------------------
def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>\n'


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], marked: Any = ()) -> str:
    out = ["<table><thead><tr>", *(f"<th>{escape(h)}</th>" for h in head), "</tr></thead><tbody>"]
    for name, cells in rows:
        kind = ' class="missed"' if name in marked else ""
        out.append(f"<tr{kind}><td>{escape(name)}</td>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>\n")
    return "".join([*out, "</tbody></table>\n"])


def _drawn(make: Callable[[], Any]) -> str:
    found = make()
    return _picture(getattr(found, "figure", found), "The graph of the model")


def _picture(figure: Any, alt: str) -> str:
    """The figure inside the page."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    pyplot().close(figure)
    text = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{text}">\n'
