"""Control flow of both kinds from TensorFlow 1.15.5, rewritten offline, run there and in 2.x."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphrev
from graphrev.ir import Graph
from tests.oracle.test_training import oracle
from tools.oracle import environment

__all__ = ["oracle"]
pytestmark = pytest.mark.oracle
CHILD = Path(__file__).with_name("flow_child.py")
KINDS = ("loop", "branch", "loop_of_branches", "call")


def child(python: str, *arguments: str) -> None:
    command = [python, str(CHILD), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def pushed_lists(graph: Graph) -> list[str]:
    bodies = (function.nodes.values() for function in graph.functions.values())
    return [n.name for nodes in bodies for n in nodes if n.op == "TensorListPushBack"]


@pytest.mark.parametrize(
    ("kind", "flow"),
    # TensorFlow 1.15.5 cannot differentiate resource reads in a v1 branch inside a v1 loop.
    [(kind, "v2") for kind in KINDS] + [(kind, "v1") for kind in ("loop", "branch")],
)
def test_gradients_are_the_same_in_both_tensorflows(
    oracle: str, tmp_path: Path, kind: str, flow: str
) -> None:
    plain, rewritten = tmp_path / "plain.pb", tmp_path / "rewritten.pb"
    child(oracle, "build", kind, flow, str(plain))
    result = graphrev.rewrite(plain, "reversible{detect=structural}")
    assert result.changed
    plan = result.report.run.steps[0].plan
    assert plan.functions if flow == "v2" else plan.loops or plan.blocks
    if (kind, flow) == ("loop", "v1"):
        assert "StackPushV2" in {node.op for node in graphrev.load(plain).graph.nodes.values()}
        assert "StackPushV2" not in {node.op for node in result.model.graph.nodes.values()}
    if (kind, flow) == ("loop", "v2"):
        assert pushed_lists(graphrev.load(plain).graph) and not pushed_lists(result.model.graph)
    result.save(rewritten)
    for python in (oracle, sys.executable):
        values: list[dict[str, np.ndarray]] = []
        for path in (plain, rewritten):
            saved = path.with_suffix(".npz")
            child(python, "run", str(path), str(saved), "4", "0", "1")
            values.append(dict(np.load(saved)))
        before, after = values
        assert len(before) > 3 * 4 and before.keys() == after.keys()
        for name, left in before.items():
            off = np.linalg.norm(left - after[name])
            assert off <= 1e-5 * np.linalg.norm(left) + 1e-9, (python, name)
