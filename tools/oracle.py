"""Finds or installs genuine TensorFlow 1.15.5 (Python 3.7) in a cache folder.

The folder is ``$GRAPHREV_ORACLE`` or ``.oracle`` in the checkout; it is never committed. Where no
Python 3.7 is found there is no oracle, and whoever asked says so.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ("tensorflow==1.15.5", "protobuf<3.21", "numpy<1.19")


def find_oracle(*, install: bool = True) -> tuple[Path | None, str]:
    """The oracle's Python, or ``None`` and the reason there is none."""
    folder = Path(os.environ.get("GRAPHREV_ORACLE", ROOT / ".oracle"))
    python = folder / "bin" / "python"
    if (folder / ".ready").exists() or _works(python):
        return python, ""
    if not install:
        return None, f"TensorFlow 1.15.5 is not installed in {folder}"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Tests that run side by side ask for it at once.
        return (python, "") if (folder / ".ready").exists() else _installed(folder, python)


def _installed(folder: Path, python: Path) -> tuple[Path | None, str]:
    base = _python37()
    if base is None:
        return None, "no Python 3.7 was found to install TensorFlow 1.15.5 with"
    try:
        subprocess.run([*base, "-m", "venv", str(folder)], check=True, env=_environment())
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return None, f"TensorFlow 1.15.5 could not be installed: {error}"
    (folder / ".ready").touch()
    return python, ""


def environment() -> dict[str, str]:
    """For child processes: TensorFlow 2 leaves a variable that makes 1.15 behave like it."""
    return {key: value for key, value in os.environ.items() if key != "TF2_BEHAVIOR"}


def _works(python: Path) -> bool:
    code = "import tensorflow as tf; assert tf.__version__.startswith('1.15')"
    return python.exists() and _succeeds([str(python), "-c", code])


def _python37() -> list[str] | None:
    for command in (["python3.7"], ["python"]):
        check = "import sys; sys.exit(sys.version_info[:2] != (3, 7))"
        if _succeeds([*command, "-c", check]):
            return command
    return None


def _environment() -> dict[str, str]:
    """The environment in which pyenv, where there is one, answers as Python 3.7."""
    return {**os.environ, "PYENV_VERSION": os.environ.get("GRAPHREV_PYTHON37", "3.7.16")}


def _succeeds(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, env=_environment(), check=False)
    except OSError:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    found, why = find_oracle()
    sys.stdout.write(f"{found or why}\n")
    sys.exit(0 if found else 1)
