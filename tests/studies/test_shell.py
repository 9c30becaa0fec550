"""`python -m ppl compare` as a newcomer uses it: a file and data of their own, and what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from ppl.studies.shell import main, model_of

MODEL = """
import numpy as np
import ppl
import ppl.distributions as dist

def line(x, y, scale=1.0):
    a = ppl.sample("a", dist.Normal(0, 10))
    b = ppl.sample("b", dist.Normal(0, 10))
    with ppl.plate("rows", len(x)):
        ppl.sample("y", dist.Normal(a + b * x, scale), obs=y)
"""
X = np.linspace(-1, 1, 12)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "empty.py").write_text("x = 3\n")
    np.savez(tmp_path / "data.npz", x=X, y=1 + 2 * X, other=np.zeros(2))
    np.savez(tmp_path / "upper.npz", X=X, y=X)
    (tmp_path / "data.csv").write_text("x,y\n" + "\n".join(f"{a},{1 + 2 * a}" for a in X))
    (tmp_path / "data.json").write_text(json.dumps({"x": X.tolist(), "y": (1 + 2 * X).tolist(), "scale": 0.5}))
    (tmp_path / "data.txt").write_text("1 2 3")
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_as_a_process(folder):
    call = [
        sys.executable,
        "-m",
        "ppl",
        "compare",
        "model.py:line",
        "--data",
        "data.npz",
        "--algorithms",
        "cavi",
        "map",
    ]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].startswith("cavi  trusted")
    assert done.stderr == "not used from data.npz: other\n"


@pytest.mark.parametrize("data", ["data.npz", "data.csv", "data.json"])
def test_kinds_of_data_and_files_that_are_written(folder, data, capsys):
    call = ["compare", "model.py", "--data", data, "--algorithms", "cavi", "em"]
    call += ["--csv", "table.csv", "--plot", "picture.png", "--report", "page.html", "--set", "scale=0.25"]
    assert main(call) == 0
    assert "em: a model" not in capsys.readouterr().err
    assert (folder / "table.csv").read_text().startswith("algorithm,verdict")
    assert (folder / "picture.png").read_bytes()[:4] == b"\x89PNG"
    assert "<h1>line</h1>" in (folder / "page.html").read_text()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["model.py:lin", "--data", "data.npz"], "try model.py:line"),
        (["model.py:line", "--data", "upper.npz"], "try rename 'X' to 'x'"),
        (["model.py:line"], "got no data, without 'x'"),
        (["model.py:line", "--data", "nowhere.npz"], "which is not there"),
        (["model.py:line", "--data", "data.txt"], "one of ('.npz', '.csv', '.json')"),
        (["model.py:line", "--data", "bad.npz"], "which cannot be read"),
        (["nowhere.py:line", "--data", "data.npz"], "'nowhere.py', which is not there"),
        (["data.txt", "--data", "data.npz"], "which is no Python file"),
        (["broken.py:line", "--data", "data.npz"], "No module named 'nothing_of_this_name'"),
        (["empty.py", "--data", "data.npz"], "without the name of a function"),
        (["model.py:line", "--data", "data.npz", "--set", "scale"], "NAME=VALUE"),
        (["model.py:line", "--data", "data.npz", "--algorithms", "bvi"], "try 'bbvi'"),
        (["model.py:line", "--data", "data.npz", "--budget", "0"], "a whole number of at least 1"),
    ],
)
def test_what_goes_wrong_is_said(folder, call, said, capsys):
    assert main(["compare", *call]) == 2
    found = capsys.readouterr().err
    assert said in found and "Traceback" not in found


def test_a_model_that_refuses_its_data(folder, capsys):
    np.savez("short.npz", x=X, y=X[:5])
    assert main(["compare", "model.py:line", "--data", "short.npz", "--algorithms", "cavi"]) == 2
    assert "obs of shape (5,)" in capsys.readouterr().err


def test_the_function_of_a_file(folder):
    assert model_of("model.py:line").__name__ == model_of("model.py").__name__ == "line"
