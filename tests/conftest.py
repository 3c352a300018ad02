"""What every test shares: quiet TensorFlow, the fixture index, the corpus."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FIXTURES = Path(__file__).parent / "fixtures"
INDEX = json.loads((FIXTURES / "index.json").read_text())


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES


@pytest.fixture(scope="session")
def corpus() -> Path:
    folder = Path(os.environ.get("GRAPHREV_CORPUS", Path(__file__).parents[2] / "shared/corpus"))
    if not folder.is_dir():
        pytest.skip(f"no corpus in {folder}; set GRAPHREV_CORPUS")
    return folder


@pytest.fixture
def control_flow_v1() -> Iterator[None]:
    """The loops and branches of TensorFlow 1; what was set comes back."""
    import tensorflow

    tf = tensorflow.compat.v1
    enabled = tf.control_flow_v2_enabled()
    tf.disable_control_flow_v2()
    yield
    if enabled:
        tf.enable_control_flow_v2()


@pytest.fixture
def control_flow_v2() -> Iterator[None]:
    """Loops and branches as functions; what was set comes back."""
    import tensorflow

    tf = tensorflow.compat.v1
    enabled = tf.control_flow_v2_enabled()
    tf.enable_control_flow_v2()
    yield
    if not enabled:
        tf.disable_control_flow_v2()
