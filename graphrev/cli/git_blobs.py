"""Reads the files that git hands to a diff driver: blobs under temporary names."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any


def load_blob(file: str, path: str) -> Any:
    """The model in ``file``, a version of ``path`` in the repository.

    Raises:
        GraphrevError: it holds no graph.
    """
    from graphrev.io import files

    name = Path(path).name
    with tempfile.TemporaryDirectory(prefix="graphrev-") as folder:
        copy = Path(folder) / (_saved_model(name) or f"blob{_suffixes(name)}")
        shutil.copyfile(file, copy)
        return files.load(copy)


def _saved_model(name: str) -> str | None:
    """Git puts random letters before the name, in some versions."""
    return "saved_model.pb" if name.endswith("saved_model.pb") else None


def _suffixes(name: str) -> str:
    suffixes = Path(name).suffixes
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])
