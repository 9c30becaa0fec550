"""Where the real data sets are: the folder that PPL_DATA names, else ../shared/data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    """The folder, whether or not it exists."""
    return Path(os.environ.get("PPL_DATA") or ROOT.parent / "shared" / "data")


def why_absent(part: str) -> str | None:
    """None where `part` of the data is there; else a sentence that says what to do."""
    path = data_folder() / part
    if path.exists():
        return None
    return f"no {part} in the data folder {data_folder()}: set PPL_DATA to a folder that has it"
