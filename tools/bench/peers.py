"""What benchmarks need from elsewhere, in a cache folder: scikit-learn's digits, tfmot's own venv.

The folder is ``$GRAPHREV_BENCH`` or ``.bench`` in the checkout; it is never committed.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tools.oracle import ROOT

DIGITS = "scikit-learn==1.9.1"
_MEMBER = "sklearn/datasets/data/digits.csv.gz"
TFMOT = ("tensorflow-model-optimization==0.8.1", "tf_keras==2.21.0", "dm-tree", "scipy", "mock")


def cache() -> Path:
    """The folder."""
    folder = Path(os.environ.get("GRAPHREV_BENCH", ROOT / ".bench"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digits() -> Path:
    """The digits as ``.csv.gz`` (64 pixels from 0 to 16 and the label a line), from the wheel."""
    target = cache() / "digits.csv.gz"
    if not target.exists():
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, DIGITS]
            subprocess.run(pip, check=True)
            (wheel,) = Path(folder).glob("*.whl")
            target.write_bytes(zipfile.ZipFile(wheel).read(_MEMBER))
    return target


def splits() -> dict[str, Path]:
    """``test``: 1347 to train on and 450; ``valid``: the 1347 as 1077 and 270.

    The 450 are those of ``train_test_split(test_size=450, random_state=0)``.
    """
    import numpy as np

    with gzip.open(digits()) as source:
        table: Any = np.loadtxt(source, delimiter=",")
    x = (table[:, :-1] / 16).reshape(-1, 8, 8, 1).astype("float32")
    y = table[:, -1].astype("int64")
    order = np.random.RandomState(0).permutation(len(x))
    tests, trains = order[:450], order[450:]
    parts = {"test": (trains, tests), "valid": (trains[270:], trains[:270])}
    found: dict[str, Path] = {}
    for name, (train, test) in parts.items():
        found[name] = cache() / f"digits.{name}.npz"
        np.savez(found[name], x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])
    return found


def find_tfmot() -> tuple[Path | None, str]:
    """The Python of tfmot's environment, or ``None`` and why there is none.

    TensorFlow itself is that of this Python: its packages are on the path of the new environment.
    """
    folder = cache() / "tfmot"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            (site,) = folder.glob("lib/python*/site-packages")
            (site / "host.pth").write_text(sysconfig.get_path("purelib") + "\n")
            pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, "--no-deps", *TFMOT], check=True)
            code = "import os; os.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
            code += "import tensorflow_model_optimization"
            done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return None, f"tfmot could not be installed: {error}"
        if done.returncode:
            return None, f"tfmot does not load: {done.stderr.strip().splitlines()[-1]}"
        (folder / ".ready").touch()
    return python, ""
