"""Masks are saved, restored, initialized and listed with their kernels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.io.checkpoints import read_checkpoint, write_checkpoint
from graphrev.passes.mask.checkpoints import MaskedGraph
from tests.nets import tf
from tests.passes.mask import savers
from tools.oracle import environment, find_oracle

OPTIONS = "mask{sparsity=0.8,first=masked,last=masked,schedule=linear,begin=5,end=14,frequency=3}"
PARTS = {"partitioned": {"l0": (4, 3, 3), "l1": (4, 4, 4), "l2": (3, 3, 3)}}
SIZES = {"l0": (10, 12), "l1": (12, 9), "l2": (9, 3)}


def masked_metas(folder: Path) -> dict[str, Any]:
    plans: dict[str, Any] = {}
    for case in savers.SAVERS:
        result = graphrev.rewrite(folder / f"{case}.meta", OPTIONS)
        result.save(folder / f"{case}.masked.meta")
        plans[case] = result.report.steps[0].plan
    return plans


def check_resuming(python: str, folder: Path) -> None:
    script = [python, "-W", "ignore", savers.__file__]
    subprocess.run(
        [*script, "build", str(folder)], check=True, capture_output=True, env=environment()
    )
    plans = masked_metas(folder)
    values = read_checkpoint(folder / "older.dense")
    about = MaskedGraph(graphrev.load(folder / "older.masked.meta").graph)
    write_checkpoint(folder / "older.start", about.masked(values, "ones"), "v1")
    done = subprocess.run(
        [*script, "resume", str(folder)], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == set(savers.SAVERS)
    for case, outcome in found.items():
        zeros = outcome.pop("zeros")
        assert all(outcome.values()), (case, outcome)
        assert sorted(zeros.values()) == sorted(k.zeros for k in plans[case].kernels), case


def test_dense_checkpoint_starts_a_masked_graph_and_training_resumes(tmp_path: Path) -> None:
    check_resuming(sys.executable, tmp_path)


@pytest.mark.oracle
def test_the_same_under_tensorflow_1(tmp_path: Path) -> None:
    python, why = find_oracle(install=False)
    if python is None:
        pytest.skip(why)
    check_resuming(str(python), tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    savers.build(folder)
    return folder


def imported(path: Path) -> Any:
    with tf.Graph().as_default() as graph:
        tf.train.import_meta_graph(str(path))
    return graph


@pytest.mark.parametrize("case", ["ref", "resource", "partitioned"])
def test_masks_are_listed_as_model_pruning_lists_them(
    case: str, built: Path, tmp_path: Path
) -> None:
    graphrev.rewrite(built / f"{case}.meta", OPTIONS).save(tmp_path / "m.meta")
    before, after = imported(built / f"{case}.meta"), imported(tmp_path / "m.meta")
    parts = ("/part_0", "/part_1", "/part_2") if case == "partitioned" else ("",)

    def names(graph: Any, collection: str) -> list[str]:
        return [item.name for item in graph.get_collection(collection)]

    wanted = [f"l{n}/mask{part}:0" for n in range(3) for part in parts]
    assert names(after, "masks") == wanted
    assert names(after, "kernel") == [f"l{n}/kernel{p}:0" for n in range(3) for p in parts]
    assert len(names(after, "masked_weights")) == len(names(after, "thresholds")) == len(wanted)
    more = set(names(after, "variables")) - set(names(before, "variables"))
    assert set(wanted) < more and len(more) == 2 * len(wanted) + 1
    assert names(after, "trainable_variables") == names(before, "trainable_variables")


def test_a_saver_made_later_keeps_partitions_of_masks_together(built: Path, tmp_path: Path) -> None:
    graphrev.rewrite(built / "partitioned.meta", OPTIONS).save(tmp_path / "m.meta")
    with imported(tmp_path / "m.meta").as_default(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "own"), write_meta_graph=False)
    shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    assert [shapes[f"l{n}/mask"] for n in range(3)] == [list(SIZES[f"l{n}"]) for n in range(3)]


def test_saved_model_runs_masked_from_its_dense_variables(built: Path, tmp_path: Path) -> None:
    graphrev.rewrite(built / "saved_model", OPTIONS).save(tmp_path / "masked")
    losses: list[Any] = []
    for folder in (built / "saved_model", tmp_path / "masked"):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            loaded = tf.saved_model.loader.load(session, ["train"], str(folder))
            signature = loaded.signature_def["serving_default"]
            losses.append(session.run(signature.outputs["loss"].name, savers.BATCH))
            if folder.name == "masked":
                masks = [graph.get_tensor_by_name(f"l{n}/mask/read:0") for n in range(3)]
                assert all((mask == 1).all() for mask in session.run(masks))
    np.testing.assert_array_equal(losses[0], losses[1])


@pytest.mark.parametrize("case", savers.SAVERS)
def test_stripping_takes_the_masks_out_of_everything(
    case: str, built: Path, tmp_path: Path
) -> None:
    model = graphrev.load(built / f"{case}.meta")
    masked = graphrev.rewrite(model, OPTIONS)
    after = graphrev.rewrite(masked, "strip-masks").model
    assert set(after.graph.nodes) == set(model.graph.nodes)
    for name, node in model.graph.nodes.items():
        assert dict(after.graph[name].attrs) == dict(node.attrs), name
        assert after.graph[name].inputs == node.inputs
    path = tmp_path / "stripped.meta"
    after_meta = (graphrev.save(after, path), imported(path))[1]
    before_meta = imported(built / f"{case}.meta")
    assert set(after_meta.get_all_collection_keys()) == set(before_meta.get_all_collection_keys())
    for key in before_meta.get_all_collection_keys():
        before, now = (g.get_collection(key) for g in (before_meta, after_meta))
        assert [getattr(v, "name", v) for v in now] == [getattr(v, "name", v) for v in before], key


def test_verify_finds_a_masked_graph_equal_while_its_masks_are_1(built: Path) -> None:
    model = graphrev.load(built / "ref.meta")
    masked = graphrev.rewrite(model, OPTIONS)
    outcome = graphrev.verify(model, masked)
    assert outcome.ok, outcome.to_text()
    assert graphrev.verify(masked, graphrev.rewrite(masked, "strip-masks")).ok
    with_values = graphrev.verify(model, masked, checkpoint=built / "ref.dense")
    assert with_values.ok
