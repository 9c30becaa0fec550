"""One file of arrays and text: nested values in, the same values out, and no code.

    values --encode--> JSON text + arrays --npz--> file --npz, no pickle--> values

Everything that is no number, text or None stands in the text as `{kind: content}`: arrays by their
name in the file, containers by their members. What would need code or lives elsewhere is `Missing`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DataError
from ..graph.frames import is_pandas

TEXT = "text"  # the array with the text's bytes


@dataclasses.dataclass(frozen=True)
class Missing:
    """Stands where a value could not be held; `what` it was, in words."""

    what: str


def write(path: str | os.PathLike, value: Any) -> None:
    """Write a value to a file, all of it or nothing: whoever reads sees the old file or the new one."""
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(encode(value, arrays))
    part = f"{name_of(path)}.part"
    try:
        with open(part, "wb") as file:
            np.savez(file, **{TEXT: np.frombuffer(text.encode(), np.uint8)}, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as problem:
        raise DataError(
            f"'{name_of(path)}', which cannot be written: {problem.strerror}",
            "the path of a file in a folder that is there, and may be written to",
            "another path, or os.makedirs(folder) first",
        ) from problem


def name_of(path: Any) -> str:
    """The path as text."""
    if not isinstance(path, str | os.PathLike):
        raise DataError(f"{path!r} for a path", "the path of a file", '"fit.npz"')
    return os.fspath(path)


def read(path: str | os.PathLike) -> Any:
    """The value in a file.

    Raises
    ------
    DataError
        where there is none, it is not one of ours, or is damaged.
    """
    name, why = name_of(path), "it is damaged, or of another kind"
    try:
        with open(path, "rb") as whole:
            if zipfile.is_zipfile(whole):
                whole.seek(0)
                with np.load(whole, allow_pickle=False) as file:
                    arrays = {n: file[n] for n in file.files}
                return decode(json.loads(arrays.pop(TEXT).tobytes().decode()), arrays)
    except OSError as problem:
        why = problem.strerror or why
    except Exception:  # a damaged byte may lead the readers of archives, arrays and text anywhere
        pass
    raise DataError(f"'{name}', which cannot be read: {why}", "a file written by fit.save(path)", "another path")


def digest(value: Any) -> str | None:
    """A number that tells values apart, in hexadecimal; None where some of the value cannot be held."""
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(encode(value, arrays))
    if '{"missing": ' in text:
        return None
    found = hashlib.sha256(text.encode())
    for name, x in arrays.items():
        found.update(f"{name} {x.dtype} {x.shape}".encode())
        found.update(np.ascontiguousarray(x).tobytes())
    return found.hexdigest()


def encode(x: Any, arrays: dict[str, np.ndarray], name: str = "") -> Any:
    """What stands in the text for a value; its arrays are added to `arrays`.

    >>> arrays = {}
    >>> encode({"y": np.zeros(3), "n": 2}, arrays)
    {'dict': [['y', {'array': 'y'}], ['n', 2]]}
    >>> decode({"dict": [["y", {"array": "y"}]]}, arrays)
    {'y': array([0., 0., 0.])}
    """

    def part(value: Any, key: Any) -> Any:
        return encode(value, arrays, f"{name}/{key}" if name else str(key))

    def parts(values: Any) -> list:
        return [part(v, i) for i, v in enumerate(values)]

    def array(value: np.ndarray) -> str:
        key = name or "array"
        while key in arrays or key in (TEXT, "file"):
            key += "'"
        arrays[key] = np.asarray(value)
        return key

    if x is None or type(x) in (bool, int, float, str):
        return x
    if isinstance(x, np.memmap):
        return {"missing": f"a memory map of shape {x.shape}"}
    if isinstance(x, np.ma.MaskedArray) and not x.dtype.hasobject:
        return {"masked": [part(x.data, "data"), part(np.ma.getmaskarray(x), "mask")]}
    if isinstance(x, np.ndarray) and not x.dtype.hasobject:
        return {"array": array(x)}
    if isinstance(x, np.ndarray) and all(isinstance(v, str) for v in x.ravel()):
        return {"words": [list(x.shape), x.ravel().tolist()]}
    if isinstance(x, np.generic) and not x.dtype.hasobject:
        return {"scalar": array(x)}
    if isinstance(x, Mapping):
        return {"dict": [[part(k, f"key {i}"), part(v, k)] for i, (k, v) in enumerate(x.items())]}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return {"named tuple": [type(x).__name__, list(x._fields), parts(x)]}
    if isinstance(x, list | tuple):
        return {"list" if isinstance(x, list) else "tuple": parts(x)}
    if isinstance(x, Missing):
        return {"missing": x.what}
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        names = [f.name for f in dataclasses.fields(x)]
        return {"dataclass": [type(x).__name__, names, [part(getattr(x, n), n) for n in names]]}
    if is_pandas(x):
        return _encode_pandas(x, arrays, name)
    shape = f" of shape {tuple(x.shape)}" if hasattr(x, "shape") else ""
    return {"missing": f"a value of type {type(x).__module__}.{type(x).__qualname__}{shape}"}


def decode(x: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that some text stands for."""
    if not isinstance(x, dict):
        return x
    ((kind, content),) = x.items()
    match kind:
        case "array":
            return arrays[content]
        case "scalar":
            return arrays[content][()]
        case "masked":
            data, mask = (decode(v, arrays) for v in content)
            return np.ma.MaskedArray(data, mask)
        case "words":
            shape, words = content
            return np.array(words, dtype=object).reshape(shape)
        case "dict":
            return {decode(k, arrays): decode(v, arrays) for k, v in content}
        case "list":
            return [decode(v, arrays) for v in content]
        case "tuple":
            return tuple(decode(v, arrays) for v in content)
        case "named tuple":
            name, names, values = content
            return namedtuple(name, names)(*(decode(v, arrays) for v in values))
        case "dataclass":
            name, names, values = content
            return dataclasses.make_dataclass(name, names)(*(decode(v, arrays) for v in values))
        case "series" | "frame" | "categorical":
            return _decode_pandas(kind, [decode(v, arrays) for v in content])
        case "missing":
            return Missing(content)
    raise ValueError(f"what kind is '{kind}'?")


def _encode_pandas(x: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    """A frame or a series by its columns, if it comes back as it is."""
    made: dict[str, np.ndarray] = {}

    def column(values: Any, of: Any) -> Any:
        if hasattr(values, "cat"):
            of_kind = [np.asarray(values.cat.categories), np.asarray(values.cat.codes), bool(values.cat.ordered)]
            return {"categorical": [encode(v, made, f"{name}/{of}/{i}") for i, v in enumerate(of_kind)]}
        return encode(np.asarray(values), made, f"{name}/{of}")

    index = [encode(np.asarray(x.index), made, f"{name}/index"), encode(x.index.name, made)]
    if hasattr(x, "columns"):
        columns = [[encode(n, made), column(x.iloc[:, i], i)] for i, n in enumerate(x.columns)]
        out = {"frame": [*index, {"list": [{"list": c} for c in columns]}]}
    else:
        out = {"series": [*index, encode(x.name, made), column(x, "values")]}
    try:
        same = decode(out, made).equals(x)
    except Exception:  # whatever pandas says, it is not the same
        same = False
    if not same:
        return {"missing": f"a pandas {type(x).__name__} of shape {x.shape}, of a kind that arrays do not hold"}
    arrays.update(made)
    return out


def _decode_pandas(kind: str, content: list) -> Any:
    import pandas

    if kind == "categorical":
        categories, codes, ordered = content
        return pandas.Categorical.from_codes(codes, categories, ordered=ordered)
    labels, called, *rest = content
    index = pandas.Index(labels, name=called)
    if kind == "series":
        name, values = rest
        return pandas.Series(values, index=index, name=name)
    frame = pandas.DataFrame({i: values for i, (_, values) in enumerate(rest[0])}, index=index)
    frame.columns = [name for name, _ in rest[0]]
    return frame
