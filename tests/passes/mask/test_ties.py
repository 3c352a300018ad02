"""On graphs of TensorFlow 1.15, trained there, ties change nothing about the count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphrev
from tests.passes.mask import ties
from tests.passes.mask.oracle import under_tensorflow_1

SHARES = (0.0, 0.5, 0.9)


@pytest.mark.oracle
def test_exactly_the_first_of_the_smallest_are_dropped_under_tensorflow_1(tmp_path: Path) -> None:
    child = under_tensorflow_1(ties, tmp_path)
    child("build")
    for share in SHARES:
        spec = f"mask{{sparsity={share},first=masked,last=masked,frequency=1}}"
        graphrev.rewrite(tmp_path / "ties.pb", spec).save(tmp_path / f"{share}.masked.pb")
    child("train")
    for share in SHARES:
        found = np.load(tmp_path / f"{share}.masked.pb.npz")
        assert set(found) == set(ties.kernels())
        for name, weights in ties.kernels().items():
            count = min(round(weights.size * share), weights.size - 1)
            order = np.argsort(np.abs(weights.astype(np.float32)).ravel(), kind="stable")
            dropped = np.flatnonzero(found[name].ravel() == 0)
            assert set(dropped) == set(order[:count]), (name, share)
