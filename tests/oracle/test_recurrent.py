"""A recurrent net of TensorFlow 1.15.5, its loop recomputed: the same bits there and in 2.x."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

import graphrev
from tests.conftest import FIXTURES, INDEX
from tests.oracle.test_training import oracle, train

__all__ = ["oracle"]
pytestmark = pytest.mark.oracle


def test_losses_of_20_steps_are_the_very_same(oracle: str, tmp_path: Path) -> None:
    plain, rewritten = tmp_path / "plain.meta", tmp_path / "rewritten.meta"
    plain.write_bytes(gzip.decompress((FIXTURES / INDEX["recurrent"]["file"]).read_bytes()))
    result = graphrev.rewrite(plain, "recompute{frames=^rnn/}")
    assert result.changed
    result.save(rewritten)
    start = str(tmp_path / "start")
    first = train(oracle, "recurrent", plain, 20, checkpoint=start)
    assert len(set(first)) == 20
    for python in (oracle, sys.executable):
        expected = train(python, "recurrent", plain, 20, restore=start)
        assert train(python, "recurrent", rewritten, 20, restore=start) == expected
