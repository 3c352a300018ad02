"""What graphrev writes, TensorFlow imports, trains, saves and restores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphrev import api
from graphrev.io.protos import light
from graphrev.verification import validation
from tests.cli.runner import assert_refused, invoke
from tests.conftest import FIXTURES, INDEX
from tests.io.samples import chain

v1: Any = tf.compat.v1


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rewritten") / "widths.meta"
    result = api.rewrite(FIXTURES / "widths.meta.gz", "reversible")
    assert result.changed
    result.save(path)
    return path


def feeds() -> dict[str, Any]:
    draw = np.random.default_rng(3)
    found: dict[str, Any] = {}
    for name, feed in INDEX["widths"]["feeds"].items():
        shape = [4 if size == -1 else size for size in feed["shape"]]
        if "range" in feed:
            found[f"{name}:0"] = draw.integers(*feed["range"], size=shape)
        else:
            found[f"{name}:0"] = draw.standard_normal(shape)
    return found


def test_a_rewritten_meta_imports_and_its_saver_saves_and_restores(
    rewritten: Path, tmp_path: Path
) -> None:
    entry = INDEX["widths"]
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        saver = v1.train.import_meta_graph(str(rewritten))
        session.run(entry["init"])
        first = session.run(entry["loss"], feeds())
        prefix = saver.save(session, str(tmp_path / "model"))
        session.run(entry["train"], feeds())
        assert session.run(entry["loss"], feeds()) != first
        saver.restore(session, prefix)
        assert session.run(entry["loss"], feeds()) == first
        assert len(v1.trainable_variables()) > 0
    # The meta that TensorFlow writes of it is read again.
    assert len(api.load(f"{prefix}.meta").graph) == len(api.load(rewritten).graph)


def test_a_rewritten_meta_lists_every_op_it_uses(rewritten: Path) -> None:
    meta = light("meta_graph_pb2").MetaGraphDef.FromString(rewritten.read_bytes())
    used = {node.op for node in meta.graph_def.node}
    assert used <= {op.name for op in meta.meta_info_def.stripped_op_list.op}


@pytest.mark.parametrize("name", ["while_block", "cond_block"])
def test_an_untouched_meta_with_control_flow_imports(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.meta"
    api.save(api.load(FIXTURES / f"{name}.meta.gz"), path)
    with tf.Graph().as_default():
        v1.train.import_meta_graph(str(path))


def test_a_rewritten_saved_model_is_loaded_with_its_variables(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "in")
    result = api.rewrite(tmp_path / "in", "reversible")
    assert result.changed
    result.save(tmp_path / "out")
    losses: list[Any] = []
    for folder in ("in", "out"):
        with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
            v1.saved_model.load(session, ["train"], str(tmp_path / folder))
            losses.append(session.run(INDEX["widths"]["loss"], feeds()))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)


def test_result_messages_are_tensorflows_own() -> None:
    result = api.rewrite(FIXTURES / "widths.meta.gz", "reversible")
    assert isinstance(result.graph_def, v1.GraphDef)
    assert isinstance(result.meta_graph_def, v1.MetaGraphDef)
    assert len(result.graph_def.node) == len(result.model.graph)


def test_verify_says_equal_in_json(capsys: pytest.CaptureFixture[str], rewritten: Path) -> None:
    args = ("verify", FIXTURES / "widths.meta.gz", rewritten, "--feed", "x=4,16", "--json")
    outcome = invoke(capsys, *args)
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["equal"] is True


def test_verify_exits_with_1_on_a_difference(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.pb").write_bytes(chain().SerializeToString())
    other = chain()
    other.node[2].op = "Abs"
    (tmp_path / "b.pb").write_bytes(other.SerializeToString())
    args = ("verify", tmp_path / "a.pb", tmp_path / "b.pb", "--fetch", "z:0")
    assert invoke(capsys, *args).code == 1
    outcome = invoke(capsys, *args, "--json")
    data = json.loads(outcome.out, parse_constant=lambda text: pytest.fail(text))
    assert (outcome.code, data["equal"]) == (1, False)


def test_other_shapes_are_a_difference_in_strict_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.pb").write_bytes(chain().SerializeToString())
    other = chain()
    other.node[2].op, other.node[2].attr["T"].type = "Shape", 1
    (tmp_path / "b.pb").write_bytes(other.SerializeToString())
    args = ("verify", tmp_path / "a.pb", tmp_path / "b.pb", "--fetch", "z:0", "--json")
    outcome = invoke(capsys, *args)
    data = json.loads(outcome.out, parse_constant=lambda text: pytest.fail(text))
    assert (outcome.code, data["equal"]) == (1, False)


def test_verify_refuses_what_it_cannot_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.pb").write_bytes(chain().SerializeToString())
    same = ("verify", tmp_path / "a.pb", tmp_path / "a.pb")
    assert_refused(invoke(capsys, *same, "--fetch", "gone"), 2, "gone")
    assert_refused(invoke(capsys, *same, "--fetch", "z", "--feed", "x=2,7"), 2, "'x", "[2,7]")
    assert_refused(invoke(capsys, *same, "--fetch", "z", "--feed", "q=2"), 2, "'q")
    checkpoint = ("--fetch", "z", "--checkpoint", tmp_path / "\x1b[31mnone")
    assert_refused(invoke(capsys, *same, *checkpoint), 2, "\\x1b[31mnone")
    damaged = chain()
    damaged.node[2].attr["T"].Clear()
    (tmp_path / "b.pb").write_bytes(damaged.SerializeToString().replace(b"Neg", b"N\x1bg"))
    outcome = invoke(capsys, "verify", tmp_path / "a.pb", tmp_path / "b.pb", "--fetch", "z")
    assert_refused(outcome, 3)


def test_verify_before_writing_reports_and_writes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    args = ("rewrite", FIXTURES / "widths.meta.gz", "-o", tmp_path / "out.meta", "-p", "reversible")
    outcome = invoke(capsys, *args, "--verify", "--feed", "x=4,16", "--feed", "label=4", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["verification"]["equal"] is True
    assert (tmp_path / "out.meta").exists()


def test_a_difference_found_before_writing_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = validation.verify

    def strict(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **{**kwargs, "rtol": 0.0, "atol": -1.0})

    monkeypatch.setattr(validation, "verify", strict)
    args = ("rewrite", FIXTURES / "widths.meta.gz", "-o", tmp_path / "out.meta", "-p", "reversible")
    outcome = invoke(capsys, *args, "--verify", "--report", tmp_path / "r.json")
    assert outcome.code == 1
    assert outcome.err.startswith(
        "graphrev: the graphs differ since pass 1, 'reversible'; the target"
    )
    assert not (tmp_path / "out.meta").exists()
