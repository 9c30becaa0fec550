"""The shell: python -m ppl compare path/to/file.py:model --data data.npz

The file is run as Python does; the function's arguments are taken by name from the data: the arrays of an
npz, the columns of a csv, the values of a json. Nothing is read from the data by pickle.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DataError, ModelError, PPLError, nearest

ENDINGS = (".npz", ".csv", ".json")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 2 where it could not be, with the reason on the error stream."""
    parser = _parser()
    asked = parser.parse_args(argv)
    try:
        return _compare(asked)
    except PPLError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ppl", description="Variational inference for models in NumPy.")
    commands = parser.add_subparsers(required=True, metavar="command")
    one = commands.add_parser(
        "compare",
        help="algorithms side by side on one model and its data",
        description="Run the algorithms that apply on one model and its data, and print one table.",
        epilog="The model's arguments are taken from the data by their names; --set gives others.",
    )
    one.add_argument("model", metavar="FILE.py:FUNCTION", help="the model function, in a Python file")
    one.add_argument(
        "--data", metavar="FILE", help="arrays by the names of the arguments: npz, csv with a header, json"
    )
    one.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="an argument (JSON, or text)")
    one.add_argument("--algorithms", metavar="NAME", nargs="+", help="names as in ppl.compare; default: all but nuts")
    one.add_argument("--referee", choices=["nuts"], help="run NUTS first, and measure errors against its draws")
    one.add_argument("--budget", type=int, metavar="N", help="gradient evaluations for each algorithm")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--plot", metavar="FILE", help="save the picture of bounds against time")
    one.add_argument("--csv", metavar="FILE", help="save the table")
    one.add_argument("--report", metavar="FILE.html", help="save a page on the best fit")
    return parser


def _compare(asked: argparse.Namespace) -> int:
    from ..infer import infer
    from .comparison import compare

    model = model_of(asked.model)
    arguments = _fitting(model, {**_data(asked.data), **dict(map(_setting, asked.set))}, asked.data)
    referee = None
    if asked.referee:
        referee = infer(model, algorithm="nuts", seed=asked.seed, **arguments)
    found = compare(
        model, algorithms=asked.algorithms, referee=referee, budget=asked.budget, seed=asked.seed, **arguments
    )
    print(found)
    if asked.csv:
        found.to_pandas().to_csv(asked.csv, index_label="algorithm")
    if asked.plot:
        found.plot().savefig(asked.plot, dpi=120)
    if asked.report:
        if found.best is None:
            raise ModelError("no fit to report on: none is to be used", "a model that some algorithm fits", "the table")
        found[found.best].report(asked.report)
    return 0


def model_of(path: str) -> Callable:
    """The function that `file.py:name` names; the name may be left out where the file has one function of its own."""
    file, _, name = path.rpartition(":") if path.rpartition(":")[0].endswith(".py") else (path, "", "")
    if not file.endswith(".py") or not os.path.isfile(file):
        what = "which is no Python file" if os.path.exists(file) else "which is not there"
        raise DataError(f"'{file}', {what}", "FILE.py:FUNCTION", "python -m ppl compare model.py:model --data data.npz")
    folder = os.path.dirname(os.path.abspath(file))
    if folder not in sys.path:  # what it imports from beside itself
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(os.path.basename(file).removesuffix(".py"), file)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    try:
        spec.loader.exec_module(module)
    except PPLError:
        raise
    except Exception as problem:
        got = f"'{file}', which cannot be run: {type(problem).__name__}: {problem}"
        raise DataError(got, "a file that Python runs", f"python {file}") from problem
    known = [n for n, x in vars(module).items() if inspect.isfunction(x) and x.__module__ == spec.name]
    if not name and len(known) == 1:
        name = known[0]
    found = getattr(module, name, None) if name else None
    if not callable(found):
        got = f"'{name}', which '{file}' does not define" if name else f"'{file}' without the name of a function"
        raise DataError(got, f"one of its functions {known}", f"{file}:{nearest(name, known) or 'model'}")
    return found


def _data(path: str | None) -> dict[str, Any]:
    """Arrays by name."""
    if path is None:
        return {}
    if not os.path.isfile(path):
        raise DataError(f"--data {path}, which is not there", "the path of a file", "--data data.npz")
    ending = next((e for e in ENDINGS if path.endswith(e)), None)
    try:
        if ending == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {n: file[n] for n in file.files}
        if ending == ".csv":
            with open(path, newline="", encoding="utf-8") as file:
                names, *rows = list(csv.reader(file))
            return {n: _column([row[i] for row in rows]) for i, n in enumerate(names)}
        if ending == ".json":
            with open(path, encoding="utf-8") as file:
                return {n: _value(x) for n, x in json.load(file).items()}
    except Exception as problem:
        got = f"--data {path}, which cannot be read: {problem}"
        raise DataError(got, "arrays of numbers or text by name", "np.savez(path, x=x, y=y)") from problem
    raise DataError(f"--data {path}", f"a file that ends in one of {ENDINGS}", "np.savez('data.npz', x=x, y=y)")


def _column(texts: Sequence[str]) -> np.ndarray:
    """Numbers where all are, an empty one being missing; whole ones as integers."""
    for kind in (int, float):
        try:
            return np.array([kind(t) if t.strip() or kind is int else np.nan for t in texts])
        except ValueError:
            continue
    return np.array(texts)


def _value(x: Any) -> Any:
    return np.array(x) if isinstance(x, list) else x


def _setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise DataError(f"--set {text}", "NAME=VALUE", "--set components=3")
    try:
        return name, _value(json.loads(value))
    except json.JSONDecodeError:
        return name, value


def _fitting(model: Callable, given: Mapping[str, Any], path: str | None) -> dict[str, Any]:
    """The arguments that the model takes, all that it needs among them."""
    parameters = inspect.signature(model).parameters
    if any(x.kind is x.VAR_KEYWORD for x in parameters.values()):
        return dict(given)
    needed = [n for n, x in parameters.items() if x.default is x.empty and x.kind not in (x.VAR_POSITIONAL,)]
    missing = [n for n in needed if n not in given]
    if missing:
        spare = sorted(set(given) - set(parameters))
        close = next((n for n in spare if n.lower() == missing[0].lower()), None) or nearest(missing[0], spare)
        hint = f"rename '{close}' to '{missing[0]}'" if close else f"--set {missing[0]}=..., or an array of that name"
        here = f"data with {sorted(given)}" if given else "no data"
        raise DataError(f"{here}, without '{missing[0]}'", f"the arguments of the model: {list(parameters)}", hint)
    used = {n: x for n, x in given.items() if n in parameters}
    left = sorted(set(given) - set(used))
    if left:
        print(f"not used from {path or '--set'}: {', '.join(left)}", file=sys.stderr)
    return used
