"""Fits as files: what is read is what was written, and what goes on ends where an unbroken run ends, to the bit."""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints
from ppl.fit import store

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
SIGMA, Y = np.array([1.0, 0.8, 1.2, 0.9]), np.array([2.0, 0.5, -1.0, 1.4])
X = RNG.normal(size=60)
Z = X + 0.5 * RNG.normal(size=60)


def schools(sigma, y=None):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    tau = ppl.sample("tau", dist.HalfNormal(1.0))
    with ppl.plate("schools", len(sigma)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)
    ppl.deterministic("spread", np.max(theta) - np.min(theta))


def by_hand(sigma, y=None):
    loc, scale = ppl.param("loc", 0.0), ppl.param("scale", 1.0, constraint=constraints.positive)
    ppl.sample("mu", dist.Normal(loc, scale))
    ppl.sample("tau", dist.LogNormal(ppl.param("log_tau", -1.0), 0.5))
    with ppl.plate("schools", len(sigma)):
        ppl.sample("theta", dist.Normal(ppl.param("m", 0.0), scale))


def coins(y):
    with ppl.plate("rows", len(y)):
        z = ppl.sample("z", dist.Bernoulli(np.array([0.3, 0.5, 0.6, 0.5])), estimator="score")
        ppl.sample("y", dist.Normal(2 * z, 1), obs=y)


def branching(y):
    z = ppl.sample("z", dist.Normal(0, 1))
    ppl.sample("y", dist.Normal(1.0 if z > 0 else -1.0, 1), obs=y)


def subsampled(x, y):
    b = ppl.sample("b", dist.Normal(0, 3))
    with ppl.plate("rows", len(x), subsample_size=10) as i:
        ppl.sample("y", dist.Normal(b * x[i], 1), obs=y[i])


def with_rows(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y), subsample_size=10) as i:
        z = ppl.sample("z", dist.Normal(mu, 1))
        ppl.sample("y", dist.Normal(z, 0.5), obs=y[i])


CASES = {
    "mean-field": (schools, (SIGMA,), {"y": Y}, {"guide": "meanfield"}, {}),
    "all chosen": (schools, (SIGMA,), {"y": Y}, {}, {}),
    "a guide function": (schools, (SIGMA,), {"y": Y}, {"guide": by_hand}, {}),
    "score function": (coins, (Y,), {}, {}, {}),
    "eager": (branching, (1.5,), {}, {}, {"particles": 8}),
    "minibatches": (subsampled, (X, Z), {}, {}, {}),
    "tables of rows": (with_rows, (Z,), {}, {}, {}),
    "tables of rows, by plain steps": (with_rows, (Z,), {}, {}, {"optimizer": ppl.optim.SGD(0.01)}),
    "float32": (subsampled, (X, Z), {}, {}, {"dtype": np.float32}),
}


def run(case, steps, **settings):
    model, args, kwargs, options, own = CASES[case]
    algorithm = ppl.BBVI(steps=steps, **own, **settings)
    return ppl.infer(model, *args, algorithm=algorithm, seed=3, progress=False, **options, **kwargs)


def read(case, path):
    model, _, _, options, _ = CASES[case]
    given = options.get("guide")
    return ppl.load(path, model, guide=given if callable(given) else None)


def check_same(a, b):
    """Two fits that agree in every bit, and in every word."""
    assert list(a.params) == list(b.params)
    for name, x in a.params.items():
        np.testing.assert_array_equal(x, b.params[name], strict=True)
    np.testing.assert_array_equal(a.history, b.history)
    assert (a.elbo, a.elbo_se) == (b.elbo, b.elbo_se)
    assert str(a) == str(b) and a.explain() == b.explain()
    assert a.verdict.word == b.verdict.word and a.verdict.k_hat == b.verdict.k_hat
    for site in a.sites:
        np.testing.assert_array_equal(a[site].mean, b[site].mean)
        np.testing.assert_array_equal(a[site].quantile([0.1, 0.9]), b[site].quantile([0.1, 0.9]))
    draws = [f.sample(20, seed=5) for f in (a, b)]
    assert all(np.array_equal(x, draws[1][n]) for n, x in draws[0].items())
    predicted = [f.predict(num_samples=10) for f in (a, b)]
    assert all(np.array_equal(x, predicted[1][n]) for n, x in predicted[0].items())
    if not isinstance(a.ratios, str):
        weighed = [f.sample(20, resample=True) for f in (a, b)]
        assert all(np.array_equal(x, weighed[1][n]) for n, x in weighed[0].items())
        assert a.log_evidence() == b.log_evidence()


# -- what is read is what was written --------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES)
def test_a_fit_comes_back_to_the_bit_and_goes_on_to_the_same(case, tmp_path):
    path = tmp_path / "fit.npz"
    fit = run(case, 130)
    fit.save(path)
    again = read(case, path)
    check_same(fit, again)
    whole = run(case, 475)
    check_same(fit.resume(steps=345, progress=False), whole)
    check_same(again.resume(steps=345, progress=False), whole)
    check_same(again.resume(steps=345, progress=False), whole)  # going on leaves a fit as it was


@pytest.mark.parametrize("cut", [1, 49, 50, 51, 400, 423])
def test_where_a_run_is_cut_does_not_matter(cut):
    whole = run("mean-field", 20_000)
    assert whole.verdict.converged and whole.solution.steps > 423
    check_same(run("mean-field", cut).resume(steps=20_000 - cut, progress=False), whole)


def test_a_file_holds_arrays_and_text_only(tmp_path):
    run("tables of rows", 60).save(tmp_path / "fit.npz")
    with np.load(tmp_path / "fit.npz", allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "biufU" for name in file.files)
    assert os.listdir(tmp_path) == ["fit.npz"]


# -- going on --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", ["mean-field", "tables of rows", "eager"])
@pytest.mark.parametrize("when", [1, 50, 77])
@pytest.mark.parametrize("how", ["asks", "interrupts"])
def test_a_run_that_was_stopped_goes_on(case, when, how, tmp_path):
    def callback(state, info):
        if state.step < when:
            return True
        if how == "interrupts":
            raise KeyboardInterrupt
        return False

    stopped = run(case, 300, callback=callback)
    assert stopped.solution.steps == when and stopped.solution.interrupted == (how == "interrupts")
    stopped.save(tmp_path / "fit.npz")
    whole = run(case, 300)
    check_same(stopped.resume(progress=False), whole)
    check_same(read(case, tmp_path / "fit.npz").resume(progress=False), whole)


@dataclasses.dataclass(frozen=True)
class Interrupting(ppl.optim.Adam):
    """Sends Ctrl-C in the middle of its n-th step."""

    at: int = 0

    def update(self, g, state, x, rate=None):
        if np.all(state.count == self.at):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        return super().update(g, state, x, rate)


@pytest.mark.parametrize("case", ["mean-field", "tables of rows"])
def test_an_interrupt_in_the_middle_of_a_step_waits_for_its_end(case):
    before = signal.getsignal(signal.SIGINT)
    stopped = run(case, 300, optimizer=Interrupting(0.05, at=40))
    assert signal.getsignal(signal.SIGINT) is before
    assert stopped.solution.interrupted and stopped.solution.steps == 41
    whole = run(case, 300, optimizer=ppl.optim.Adam(0.05))
    stopped = dataclasses.replace(
        stopped, algorithm=dataclasses.replace(stopped.algorithm, optimizer=ppl.optim.Adam(0.05))
    )
    check_same(stopped.resume(progress=False), whole)


def test_a_converged_run_goes_on_in_its_last_stage_and_says_so(tmp_path):
    fit = run("mean-field", 20_000)
    more = fit.resume(steps=1000, progress=False)
    assert fit.verdict.converged and more.verdict.converged
    assert more.solution.steps == fit.solution.steps + 1000 == len(more.history)
    assert "1000 steps" in more.verdict.stop_reason and "last stage" in str(more).replace("\n", " ")
    assert 0 < abs(more.params["mu.loc"] - fit.params["mu.loc"]) < 0.1
    fit.save(tmp_path / "fit.npz")
    check_same(read("mean-field", tmp_path / "fit.npz").resume(steps=1000, progress=False), more)


def test_what_has_no_steps_does_not_go_on():
    def nothing():
        ppl.sample("y", dist.Normal(0, 1), obs=1.0)

    with pytest.raises(ppl.ModelError, match="no steps to go on from"):
        ppl.infer(nothing, progress=False).resume(steps=10)
    with pytest.raises(ppl.ModelError, match="at least 1"):
        run("mean-field", 60).resume(steps=0)


def test_an_optimizer_that_a_file_does_not_hold(tmp_path):
    fit = run("mean-field", 60, optimizer=Interrupting(0.05, at=-1))
    fit.save(tmp_path / "fit.npz")
    again = read("mean-field", tmp_path / "fit.npz")
    assert str(again) == str(fit)
    with pytest.raises(ppl.ModelError, match="optimizer"):
        again.resume(steps=10)
    more = run("mean-field", 200, optimizer=Interrupting(0.05, at=-1), checkpoint=tmp_path / "fit.npz")
    check_same(more, run("mean-field", 200, optimizer=ppl.optim.Adam(0.05)))


# -- what is refused -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("fits") / "fit.npz"
    run("mean-field", 60).save(path)
    return path


def test_a_changed_model_is_refused_by_name(saved):
    def renamed(sigma, y=None):
        mu = ppl.sample("nu", dist.Normal(0, 2))
        ppl.sample("y", dist.Normal(mu, 1).expand([4]).to_event(1), obs=y)

    with pytest.raises(ppl.DataError, match=r"new: nu\.loc, nu\.scale; gone: mu\.loc"):
        ppl.load(saved, renamed)

    def other_prior(sigma, y=None):
        mu = ppl.sample("mu", dist.Normal(0, 2))
        tau = ppl.sample("tau", dist.HalfNormal(1.5))
        with ppl.plate("schools", len(sigma)):
            theta = ppl.sample("theta", dist.Normal(mu, tau))
            ppl.sample("y", dist.Normal(theta, sigma), obs=y)

    with pytest.raises(ppl.DataError, match=r"p\(tau\).*in the file"):
        ppl.load(saved, other_prior)

    def wider(sigma, y=None):
        mu = ppl.sample("mu", dist.Normal(np.zeros(4), 2))
        tau = ppl.sample("tau", dist.HalfNormal(1.0))
        with ppl.plate("schools", len(sigma)):
            theta = ppl.sample("theta", dist.Normal(mu, tau))
            ppl.sample("y", dist.Normal(theta, sigma), obs=y)

    with pytest.raises(ppl.DataError, match=r"'mu\.loc' of shape \(4,\) where the file has \(\)"):
        ppl.load(saved, wider)


def test_other_data_are_refused(saved):
    assert ppl.load(saved, schools, SIGMA, y=Y).elbo == ppl.load(saved, schools).elbo
    with pytest.raises(ppl.DataError, match="argument 'y' with another value"):
        ppl.load(saved, schools, SIGMA, y=Y + 1)


def test_guides_are_given_where_they_are_functions(saved, tmp_path):
    run("a guide function", 60).save(tmp_path / "fit.npz")
    with pytest.raises(ppl.GuideError, match="guide=by_hand"):
        ppl.load(tmp_path / "fit.npz", schools)
    with pytest.raises(ppl.GuideError, match="automatic 'meanfield'"):
        ppl.load(saved, schools, guide=by_hand)


@pytest.mark.parametrize("content", [b"", b"no file of ours", b"PK\x03\x04 damaged"])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ppl.DataError, match="cannot be read"):
        ppl.load(tmp_path / "x", schools)


def test_code_in_a_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.savez(tmp_path / "x.npz", text=np.array([Trap()], dtype=object))
    with pytest.raises(ppl.DataError):
        ppl.load(tmp_path / "x.npz", schools)
    np.savez(tmp_path / "y.npz", a=np.zeros(3))
    with pytest.raises(ppl.DataError):
        ppl.load(tmp_path / "y.npz", schools)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("path", ["nowhere.npz", ".", "nowhere/fit.npz", None, 3])
def test_a_path_without_a_file_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ppl.DataError) as error:
        ppl.load(path, schools)
    assert str(path) in error.value.got and error.value.expected and error.value.hint


@pytest.mark.parametrize("path", ["nowhere/fit.npz", None])
def test_a_path_that_cannot_be_written_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit = run("mean-field", 60)
    with pytest.raises(ppl.DataError) as error:
        fit.save(path)
    assert str(path) in error.value.got and "path of a file" in error.value.expected and error.value.hint


def test_a_text_file_is_refused_in_our_own_words(tmp_path):
    (tmp_path / "x.txt").write_text("some words, and no archive\n")
    with pytest.raises(ppl.DataError, match="cannot be read: it is damaged, or of another kind") as error:
        ppl.load(tmp_path / "x.txt", schools)
    assert "pickle" not in str(error.value)


def test_a_damaged_file_is_refused_or_changes_nothing(saved, tmp_path):
    """Bytes changed, cut out, doubled or cut off at random."""
    whole, rng, refused = saved.read_bytes(), np.random.default_rng(0), 0
    facts = whole.index(b"PK\x01\x02")  # the archive's own table of contents is where a byte says most
    fit = ppl.load(saved, schools)
    for k in range(400):
        damaged = bytearray(whole)
        first = rng.integers(facts if k % 2 else 0, len(whole), 1 + k % 3)
        match k % 4:
            case 0 | 1:
                for i in first:
                    damaged[i] = rng.integers(256)
            case 2:
                del damaged[first[0] : first[0] + rng.integers(1, 500)]
            case 3:
                damaged = damaged[: first[0]] if k % 8 == 3 else damaged[: first[0]] + damaged[first[0] - 40 :]
        (tmp_path / "x").write_bytes(damaged)
        try:
            again = ppl.load(tmp_path / "x", schools)
        except ppl.PPLError:
            refused += 1
        else:
            assert str(again) == str(fit) and np.array_equal(again.params["mu.loc"], fit.params["mu.loc"])
            np.testing.assert_array_equal(again.history, fit.history)
    assert refused > 200


def branches(x, path=()):
    """All places in a tree."""
    yield path
    parts = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list | tuple) else ()
    for key, value in parts:
        yield from branches(value, (*path, key))


def grafted(x, path, change):
    """The tree with another value at a place, or with none."""
    if not path:
        return change(x)
    parts = dict(x) if isinstance(x, dict) else dict(enumerate(x))
    if len(path) == 1 and change is None:
        del parts[path[0]]
    else:
        parts[path[0]] = grafted(parts[path[0]], path[1:], change)
    return parts if isinstance(x, dict) else type(x)(parts.values())


@pytest.mark.parametrize("case", ["all chosen", "tables of rows", "eager"])
def test_a_file_with_a_broken_tree_is_refused(case, tmp_path):
    """Something is gone, or of another kind or shape, at every place of what was written."""
    fit = run(case, 60)
    fit.save(tmp_path / "fit.npz")
    tree, rng = store.read(tmp_path / "fit.npz"), np.random.default_rng(0)
    others = [None, "a", -1.5, True, [], {}, (1, "a"), store.Missing("it"), np.zeros((2, 1)), np.array("a")]
    places = [p for p in branches(tree) if p]
    found = lambda f: (f.elbo, f.elbo_se, f.verdict.word, f.verdict.corrected, f.verdict.stop_reason)
    for path in places:
        held = tree
        for key in path:
            held = held[key]
        other = others[rng.integers(len(others))]
        for change in (None, lambda _, other=other: other):
            store.write(tmp_path / "x", grafted(tree, path, change))
            try:
                again = read(case, tmp_path / "x")
                str(again), again.explain(), again.sample(2)
            except ppl.PPLError:
                continue
            if change is not None and type(held) is type(other):
                continue  # another word or number of the same kind, which nothing can tell
            assert found(again) == found(fit), (path, change and other)
            assert all(np.array_equal(x, again.params[n]) for n, x in fit.params.items())
            np.testing.assert_array_equal(again.history, fit.history)


def test_values_that_are_gone_are_not_trusted(saved, tmp_path):
    tree = store.read(saved)
    tree["solution"][0] = {}
    store.write(tmp_path / "x", tree)
    with pytest.raises(ppl.DataError, match=r"values of \[\] in place of \['mu\.loc'") as error:
        ppl.load(tmp_path / "x", schools)
    assert "as fit.save(path) wrote it" in error.value.expected and error.value.hint


@pytest.mark.parametrize("optimizer", [["Moments", {}], ["np", {}], ["Adam", {"step_size": 0.1}], "Adam", 3.0])
def test_an_unknown_optimizer_is_refused(saved, tmp_path, optimizer):
    tree = store.read(saved)
    tree["algorithm"]["settings"]["optimizer"] = optimizer
    store.write(tmp_path / "x", tree)
    with pytest.raises(ppl.DataError, match="optimizer"):
        ppl.load(tmp_path / "x", schools)


def test_files_of_a_later_format_are_refused(saved, tmp_path):
    store.write(tmp_path / "later", {**store.read(saved), "format": 99})
    with pytest.raises(ppl.DataError, match="newer version"):
        ppl.load(tmp_path / "later", schools)


# -- arguments -------------------------------------------------------------------------------------------
@dataclasses.dataclass
class Data:
    y: np.ndarray
    name: str


Pair = namedtuple("Pair", "y n")


@pytest.mark.parametrize(
    ("argument", "of"),
    [
        (Y, lambda a: a),
        (Y.astype(np.float32), lambda a: a),
        (Y.tolist(), np.array),
        ({"y": Y, "more": [1, (None, "text")], 3: np.int64(2)}, lambda a: a["y"]),
        (Data(Y, "name"), lambda a: a.y),
        (Pair(Y, 4), lambda a: a.y),
        ((Y, np.array(["a", "b"], dtype=object)), lambda a: a[0]),
    ],
    ids=["array", "float32", "list", "dict", "dataclass", "named tuple", "words"],
)
def test_arguments_are_kept(argument, of, tmp_path):
    def model(data):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        with ppl.plate("rows", 4):
            ppl.sample("y", dist.Normal(mu, 1), obs=of(data))

    fit = ppl.infer(model, argument, progress=False, algorithm=ppl.BBVI(steps=60))
    fit.save(tmp_path / "fit.npz")
    check_same(fit, ppl.load(tmp_path / "fit.npz", model))


def test_pandas_arguments_are_kept(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"y": Y, "n": [1, 2, 3, 4], "who": ["a", "b", "a", "c"], "kind": pandas.Categorical(list("xyxx"))},
        index=[3, 1, 4, 2],
    )

    def model(frame, column):
        groups, which = np.unique(frame["who"].to_numpy().astype(str), return_inverse=True)
        mu = ppl.sample("mu", dist.Normal(np.zeros(len(groups)), 1).to_event(1))
        with ppl.plate("rows", len(frame)):
            ppl.sample("y", dist.Normal(mu[which] * column.to_numpy(), 1), obs=frame["y"].to_numpy())

    fit = ppl.infer(model, frame, frame["n"], progress=False, algorithm=ppl.BBVI(steps=60))
    fit.save(tmp_path / "fit.npz")
    again = ppl.load(tmp_path / "fit.npz", model)
    check_same(fit, again)
    pandas.testing.assert_frame_equal(again.problem.args[0], frame, check_dtype=False)
    assert again.problem.args[0]["kind"].dtype == frame["kind"].dtype


def test_arguments_that_live_elsewhere_are_given_again(tmp_path):
    there = np.memmap(tmp_path / "y", dtype=float, mode="w+", shape=4)
    there[:] = Y
    fit = ppl.infer(schools, SIGMA, y=there, progress=False, guide="meanfield", algorithm=ppl.BBVI(steps=60))
    fit.save(tmp_path / "fit.npz")
    with pytest.raises(ppl.DataError, match="without the argument 'y': a memory map"):
        ppl.load(tmp_path / "fit.npz", schools)
    check_same(fit, ppl.load(tmp_path / "fit.npz", schools, SIGMA, y=there))
    there[0] += 1
    with pytest.raises(ppl.DataError, match="in the file"):
        ppl.load(tmp_path / "fit.npz", schools, SIGMA, y=there)


def test_hdf5_data_are_given_again(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        x, y = file.create_dataset("x", data=X), file.create_dataset("y", data=Z)
        fit = ppl.infer(subsampled, x, y, progress=False, algorithm=ppl.BBVI(steps=60))
        fit.save(tmp_path / "fit.npz")
        with pytest.raises(ppl.DataError, match=r"'x': a value of type h5py.*of shape \(60,\)"):
            ppl.load(tmp_path / "fit.npz", subsampled)
        again = ppl.load(tmp_path / "fit.npz", subsampled, x, y)
        check_same(fit, again)
        whole = ppl.infer(subsampled, x, y, progress=False, algorithm=ppl.BBVI(steps=160))
        check_same(again.resume(steps=100, progress=False), whole)


def test_where_a_run_began_may_be_a_fit_of_before(tmp_path):
    init = run("mean-field", 60).params
    fit = run("mean-field", 60, init=init)
    fit.save(tmp_path / "fit.npz")
    check_same(read("mean-field", tmp_path / "fit.npz").resume(steps=60), run("mean-field", 120, init=init))


# -- checkpoints -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", ["mean-field", "all chosen", "tables of rows"])
def test_a_checkpoint_changes_nothing_and_the_same_call_reads_it(case, tmp_path):
    path = tmp_path / "run.npz"
    whole = run(case, 300)
    check_same(run(case, 300, checkpoint=path, checkpoint_every=0), whole)
    written = path.stat().st_mtime_ns
    check_same(run(case, 300, checkpoint=path), whole)
    assert path.stat().st_mtime_ns == written
    check_same(read(case, path), whole)
    check_same(run(case, 475, checkpoint=path), run(case, 475))
    assert os.listdir(tmp_path) == ["run.npz"]


def test_an_interrupt_before_the_first_step_leaves_no_checkpoint(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    start = importlib.import_module("ppl.algorithms.start")
    with monkeypatch.context() as patched:
        patched.setattr(start, "minimize", interrupted)
        assert run("mean-field", 60, checkpoint=tmp_path / "run.npz").solution.interrupted
    assert not os.listdir(tmp_path)
    check_same(run("mean-field", 60, checkpoint=tmp_path / "run.npz"), run("mean-field", 60))


def test_an_error_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / "run.npz"

    def fails(state, info):
        if state.step == 120:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run("mean-field", 300, checkpoint=path, checkpoint_every=0, callback=fails)
    kept = read("mean-field", path)
    assert kept.solution.interrupted and kept.solution.steps == 119 and "cut off" in str(kept)
    whole = run("mean-field", 300)
    check_same(kept.resume(progress=False), whole)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"seed": 4}, "seed 3"),
        ({"y": Y + 1}, "argument 'y'"),
        ({"guide": "fullrank"}, "guide='meanfield'"),
        ({"guide": by_hand}, "automatic"),
        ({"particles": 4}, "particles=None"),
        ({"init": {"mu.loc": np.array(1.0)}}, "init="),
        ({"optimizer": ppl.optim.Adam(0.1)}, "optimizer="),
    ],
    ids=["seed", "data", "guide", "guide function", "particles", "init", "optimizer"],
)
def test_a_checkpoint_of_another_run_is_refused(change, match, tmp_path):
    path = tmp_path / "run.npz"
    run("mean-field", 60, checkpoint=path)
    settings = {n: x for n, x in change.items() if n in ("particles", "init", "optimizer")}
    call = {"y": Y, "seed": 3, "guide": "meanfield"} | {n: x for n, x in change.items() if n not in settings}
    algorithm = ppl.BBVI(steps=60, checkpoint=path, **settings)
    with pytest.raises(ppl.DataError, match=match) as error:
        ppl.infer(schools, SIGMA, algorithm=algorithm, progress=False, **call)
    assert "of another run" in str(error.value) and "without the file" in str(error.value)


@pytest.mark.parametrize("path", [True, "nowhere/run.npz"])
def test_a_checkpoint_must_be_a_file_that_can_be(path):
    with pytest.raises(ppl.DataError, match="checkpoint"):
        run("mean-field", 60, checkpoint=path)


KILLED = """
import numpy as np, time, ppl, ppl.distributions as dist

def with_rows(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y), subsample_size=10) as i:
        z = ppl.sample("z", dist.Normal(mu, 1))
        ppl.sample("y", dist.Normal(z, 0.5), obs=y[i])

def slowly(state, info):
    time.sleep(0.002)

y = np.random.default_rng(1).normal(size=60)
algorithm = ppl.BBVI(steps=100_000, tolerance=1e-9, checkpoint={path!r}, checkpoint_every=0.01, callback=slowly)
ppl.infer(with_rows, y, algorithm=algorithm, progress=False)
"""


def test_what_was_killed_goes_on(tmp_path):
    """kill -9 at some moment, several times in one run; the end is that of an unbroken one."""
    path, y = tmp_path / "run.npz", np.random.default_rng(1).normal(size=60)
    steps = [0]
    for _ in range(3):
        program = textwrap.dedent(KILLED.format(path=str(path)))
        process = subprocess.Popen(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE
        )
        try:
            while process.poll() is None:
                time.sleep(0.05)
                if path.exists() and store.read(path)["run"]["state"][0] > steps[-1] + 60:
                    break
        finally:
            process.send_signal(signal.SIGKILL)
            _, said = process.communicate()
        assert process.returncode == -signal.SIGKILL, said.decode()
        steps.append(store.read(path)["run"]["state"][0])
    assert steps == sorted(set(steps))
    kept = ppl.load(path, with_rows)
    assert kept.solution.interrupted and "cut off" in kept.verdict.stop_reason
    whole = ppl.infer(with_rows, y, algorithm=ppl.BBVI(steps=steps[-1] + 200, tolerance=1e-9), progress=False)
    check_same(kept.resume(steps=200, progress=False), whole)
