"""Masking a differentiated graph equals masking first and differentiating afterwards."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphrev.io import decode_graph, encode_graph
from graphrev.ir import Graph
from graphrev.ir.marks import kernel_of, role_of
from graphrev.passes import Mask
from graphrev.passes.mask import MaskPlan
from graphrev.pipeline import run
from tests.passes.mask import cases
from tests.passes.mask.cases import tf
from tools.oracle import environment, find_oracle

NEVER = 10**9
STRUCTURED: tuple[dict[str, Any], ...] = (
    {"structure": "1x2", "sparsity": 0.5},
    {"structure": "filters", "sparsity": 0.5},
    {"structure": "1:2"},
    {"allocation": "global", "sparsity": 0.7},
)


def masked(graph: Graph, **options: Any) -> tuple[Graph, MaskPlan]:
    outcome = run(graph, [Mask(first="masked", last="masked", **options)])
    plan = outcome.steps[0].plan
    assert isinstance(plan, MaskPlan)
    return outcome.after, plan


def one_step(definition: Any, masks: dict[str, Any], weights: list[str]) -> dict[str, Any]:
    """How far one training step moves each variable, with the given masks."""
    with tf.Graph().as_default() as live, tf.Session() as session:
        tf.import_graph_def(definition, name="")
        session.run("init")
        for name, value in masks.items():
            (assign,) = (
                op
                for op in live.get_operations()
                if op.name == f"{name}/Assign" and op.inputs[0].op.name == name
            )
            session.run(assign, {assign.inputs[1]: value})

        def values() -> dict[str, Any]:
            return {name: session.run(read_of(live, name)) for name in weights}

        before = values()
        session.run("train", cases.feeds(definition))
        after = values()
    return {name: after[name] - before[name] for name in weights}


def read_of(live: Any, name: str) -> Any:
    op = live.get_operation_by_name(name)
    if op.type == "VariableV2":
        return op.outputs[0]
    reads = [r for r in op.outputs[0].consumers() if r.type == "ReadVariableOp"]
    return next(r for r in reads if not r.control_inputs).outputs[0]


def worst_difference(plain: Any, first: Any) -> tuple[float, MaskPlan]:
    """Largest relative difference of an update between the two ways, under random masks."""
    after, plan = masked(decode_graph(plain.SerializeToString()), begin=NEVER)
    draw = np.random.RandomState(0)
    names = {kernel_of(n): n.name for n in after.nodes.values() if role_of(n) == "mask"}
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    for kernel in plan.kernels:
        value = (draw.rand(*kernel.dims) > 0.5).astype(float)
        ours[names[kernel.variable]] = value
        theirs[kernel.variable.replace("/part_", "_part_") + "_first"] = value
    weights = [kernel.variable for kernel in plan.kernels]
    mine = one_step(tf.GraphDef.FromString(encode_graph(after)), ours, weights)
    wanted = one_step(first, theirs, weights)
    assert all(np.abs(wanted[name]).max() > 0 for name in weights)
    return max(
        float(np.abs(mine[n] - wanted[n]).max() / np.abs(wanted[n]).max()) for n in weights
    ), plan


@pytest.mark.parametrize("case", cases.CASES)
def test_update_equals_masking_first(case: str) -> None:
    worst, plan = worst_difference(cases.graph(case, False), cases.graph(case, True))
    assert worst <= 1e-6
    assert plan.kernels and not plan.rejections


def test_check_notices_an_unmasked_gradient() -> None:
    """The measure above is worth something: without masked gradients it is far off."""
    plain, first = cases.graph("dense", False), cases.graph("dense", True)
    after, plan = masked(decode_graph(plain.SerializeToString()), begin=NEVER)
    undone = dict(after.nodes)
    for name, node in after.nodes.items():
        inputs = tuple(
            after[ref.node].inputs[0] if role_of(after[ref.node]) == "gradient" else ref
            for ref in node.inputs
        )
        undone[name] = node.evolve(inputs=inputs)
    definition = tf.GraphDef.FromString(encode_graph(Graph(undone, versions=after.versions)))
    half = (np.arange(30) % 2).reshape(plan.kernels[0].dims)
    weights = [plan.kernels[0].variable]
    mine = one_step(definition, {"mask": half}, weights)
    wanted = one_step(first, {f"{weights[0]}_first": half}, weights)
    assert np.abs(mine["w1"] - wanted["w1"]).max() > 1e-3


@pytest.mark.parametrize("case", ["loop", "loop_resource", "lstm"])
def test_mask_is_multiplied_outside_the_loop(case: str) -> None:
    if case not in cases.CASES:
        pytest.skip("TensorFlow 1 builds this net")
    from graphrev.analysis.frames import control_contexts

    after, _ = masked(decode_graph(cases.graph(case, False).SerializeToString()))
    inside = control_contexts(after)
    products = [n.name for n in after.nodes.values() if role_of(n) == "masked_weight"]
    assert products and not set(products) & set(inside)


@pytest.mark.oracle
def test_graphs_of_tensorflow_1_are_exact_and_train_to_the_exact_sparsity(tmp_path: Path) -> None:
    python, why = find_oracle(install=False)
    if python is None:
        pytest.skip(why)
    script = [str(python), str(Path(cases.__file__))]
    subprocess.run(
        [*script, "build", str(tmp_path)], check=True, capture_output=True, env=environment()
    )
    wanted: dict[str, dict[str, list[int]]] = {}
    for file in sorted(tmp_path.glob("*.first.pb")):
        case = file.name.removesuffix(".first.pb")
        data = (tmp_path / f"{case}.pb").read_bytes()
        first = tf.GraphDef.FromString(file.read_bytes())
        worst, _ = worst_difference(tf.GraphDef.FromString(data), first)
        assert worst <= 1e-6, case
        options = {"schedule": "polynomial", "end": 80, "frequency": 10, "sparsity": 0.7}
        after, plan = masked(decode_graph(data), **options)
        (tmp_path / f"{case}.masked.pb").write_bytes(encode_graph(after))
        wanted[case] = {k.variable: [round(k.size * 0.7), k.size] for k in plan.kernels}
    for number, options in enumerate(STRUCTURED):
        case = f"structured{number}"
        after, plan = masked(decode_graph((tmp_path / "conv2d.pb").read_bytes()), **options)
        (tmp_path / f"{case}.masked.pb").write_bytes(encode_graph(after))
        wanted[case] = {k.variable: [k.zeros or 0, k.size] for k in plan.kernels}
    done = subprocess.run(
        [*script, "train", str(tmp_path)], check=True, capture_output=True, env=environment()
    )
    found = json.loads(done.stdout.splitlines()[-1])
    together = found.pop(f"structured{len(STRUCTURED) - 1}")
    assert sum(zeros for zeros, _ in together.values()) == round(0.7 * (108 + 72))
    wanted.pop(f"structured{len(STRUCTURED) - 1}")
    assert found == wanted
    assert {"shared", "transposed", "transpose_conv", "resource", "lstm"} <= set(wanted)
