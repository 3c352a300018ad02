"""strip-masks, then shrink, on the command line; the result is run against the input by default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.runner import invoke
from tests.passes.mask.test_channels import MASK, masked_once, residual
from tests.passes.shrink.nets import built


def test_a_masked_frozen_graph_is_stripped_and_shrunk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen, _, _ = masked_once(built(residual), MASK)
    source, target = tmp_path / "masked.pb", tmp_path / "small.pb"
    source.write_bytes(frozen.SerializeToString())
    passes = ["-p", "strip-masks", "-p", "shrink"]
    told = invoke(capsys, "inspect", source, *passes)
    assert told.code == 0 and "channels removed" in told.out
    done = invoke(capsys, "rewrite", source, "-o", target, *passes, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    step = report["passes"][1]
    assert step["plan"]["channels_removed"] > 0
    assert step["plan"]["flops"]["after"] < step["plan"]["flops"]["before"]
    assert target.stat().st_size < source.stat().st_size / 2
    again = invoke(capsys, "verify", source, target, "--feed", "x=2,8,8,3")
    assert again.code == 0, again.out + again.err
