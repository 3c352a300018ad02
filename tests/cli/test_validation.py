"""How ``rewrite`` validates its result: by default, as asked, and when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from graphrev import load
from graphrev.editor import GraphEditor
from graphrev.io import encode_graph
from graphrev.ir import Graph, Node, TensorRef
from graphrev.passes import REGISTRY
from graphrev.pipeline import Pass, Plan
from graphrev.verification import sessions, validation
from tests.cli.runner import assert_refused, invoke
from tests.conftest import FIXTURES
from tests.nets import dense, snapshot, tf, training

Capture = pytest.CaptureFixture[str]
WIDTHS = FIXTURES / "widths.meta.gz"
PASS = ("-p", "reversible{detect=structural}")


def rewritten(capsys: Capture, tmp_path: Path, *args: str, source: Path = WIDTHS) -> Any:
    """The report of a rewrite that must succeed, as JSON."""
    args = ("rewrite", str(source), "-o", str(tmp_path / "out.pb"), *PASS, "--json", *args)
    outcome = invoke(capsys, *args)
    assert outcome.code == 0, outcome
    assert (tmp_path / "out.pb").is_file()
    return json.loads(outcome.out)


def saved(graph: Graph, path: Path) -> Path:
    path.write_bytes(encode_graph(graph))
    return path


@pytest.mark.parametrize("flag", [(), ("--verify",), ("--verify=numeric",)])
def test_a_small_graph_is_run_unless_told_otherwise(
    flag: tuple[str, ...], capsys: Capture, tmp_path: Path
) -> None:
    data = rewritten(capsys, tmp_path, *flag)
    assert data["validation"] == {"how": "numeric", "reason": "", "ok": True, "failed_pass": None}
    assert data["verification"]["equal"]
    assert len(data["verification"]["comparisons"]) > 5


@pytest.mark.parametrize("how", ["off", "structure"])
def test_nothing_is_run_where_it_is_not_wanted(
    how: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "Runner", None)
    data = rewritten(capsys, tmp_path, f"--verify={how}")
    assert data["validation"]["how"] == how
    assert data["verification"] is None


def test_the_flag_alone_does_not_take_the_input_for_its_value(
    capsys: Capture, tmp_path: Path
) -> None:
    outcome = invoke(capsys, "rewrite", "--verify", WIDTHS, "-o", tmp_path / "out.meta", *PASS)
    assert outcome.code == 0
    assert "verification: numeric: equal" in outcome.out


def test_another_value_is_refused_with_the_ones_there_are(capsys: Capture, tmp_path: Path) -> None:
    args = ("rewrite", WIDTHS, "-o", tmp_path / "out.pb", *PASS, "--verify=full")
    assert_refused(invoke(capsys, *args), 2, "off", "structure", "numeric")


def test_the_text_and_the_page_say_which_ran(capsys: Capture, tmp_path: Path) -> None:
    page, output = tmp_path / "r.html", tmp_path / "out.meta"
    args = ("rewrite", WIDTHS, "-o", output, *PASS, "--report", page, "--verify=structure")
    outcome = invoke(capsys, *args)
    assert "verification: structure only: as asked" in outcome.out
    assert "verification: structure only: as asked" in page.read_text()


@pytest.mark.parametrize(
    ("name", "value", "said"), [("MOST_NODES", 10, "nodes"), ("MOST_BYTES", 1, "MB")]
)
def test_a_large_graph_is_validated_by_structure(
    name: str,
    value: int,
    said: str,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(validation, name, value)
    found = rewritten(capsys, tmp_path)["validation"]
    assert found["how"] == "structure"
    assert said in found["reason"] and "--verify=numeric" in found["reason"]


def test_a_step_that_takes_too_long_is_given_up(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "SECONDS", 0.0)
    found = rewritten(capsys, tmp_path)["validation"]
    assert found["how"] == "structure"
    assert "time was up" in found["reason"]


def endless() -> Graph:
    """A pair behind a loop that never ends."""
    enabled = tf.control_flow_v2_enabled()
    tf.disable_control_flow_v2()
    try:
        return training(after=_after_endless_loop)
    finally:
        if enabled:
            tf.enable_control_flow_v2()


def _after_endless_loop(x1: Any, x2: Any) -> Any:
    turns = tf.while_loop(lambda i: i > -1.0, lambda i: [i * 0.5 + 1.0], [tf.constant(1.0)])
    return tf.square(x1 + x2) * tf.stop_gradient(turns)


def test_an_endless_step_is_given_up(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "SECONDS", 1.0)
    found = rewritten(capsys, tmp_path, source=saved(endless(), tmp_path / "in.pb"))["validation"]
    assert found["how"] == "structure"
    assert "could not be run" in found["reason"]


def test_an_op_nobody_knows_is_no_failure(capsys: Capture, tmp_path: Path) -> None:
    graph = training()
    op = Node("strange", "NobodyKnowsThisOp", (TensorRef("x"),))
    nodes = MappingProxyType({**graph.nodes, "strange": op})
    source = saved(replace(graph, nodes=nodes), tmp_path / "in.pb")
    found = rewritten(capsys, tmp_path, source=source)["validation"]
    assert found["how"] == "structure"
    assert "NobodyKnowsThisOp" in found["reason"]


def _reads_file(path: str) -> Callable[[Any, Any], Any]:
    def after(x1: Any, x2: Any) -> Any:
        scale = tf.strings.to_number(tf.io.read_file(path))
        return tf.square(x1 + x2) * scale

    return after


@pytest.mark.parametrize("flag", [(), ("--verify",)])
def test_no_path_in_a_graph_is_followed(
    flag: tuple[str, ...], capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "number").write_text("2.0")
    graph = training(after=_reads_file(str(tmp_path / "number")))
    source = saved(graph, tmp_path / "in.pb")
    if flag:
        output = tmp_path / "out.pb"
        outcome = invoke(capsys, "rewrite", source, "-o", output, *PASS, *flag)
        assert_refused(outcome, 3, "ReadFile", "open")
        assert not output.exists()
    else:
        found = rewritten(capsys, tmp_path, source=source)["validation"]
        assert found["how"] == "structure"
        assert "ReadFile" in found["reason"]


def test_a_file_that_only_an_initializer_reads_is_not_opened(
    capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "number").write_text("2.0")
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        start = tf.strings.to_number(tf.io.read_file(str(tmp_path / "number")))
        w = tf.get_variable("start", initializer=start, use_resource=True)
        x1, x2 = tf.split(x, 2, axis=1)
        y1 = x1 + dense(x2, "f")
        y2 = x2 + dense(y1, "g")
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(y1 * y2) * w, name="train")
        source = saved(snapshot(live), tmp_path / "in.pb")
    found = rewritten(capsys, tmp_path, source=source)["validation"]
    assert found["how"] == "structure"
    assert "start" in found["reason"], found


@dataclass(frozen=True)
class _Nothing(Plan):
    @property
    def is_empty(self) -> bool:
        return False

    def to_json(self) -> dict[str, Any]:
        return {}

    def summary(self) -> str:
        return "spoils the graph"


@dataclass(frozen=True)
class Spoiling(Pass[_Nothing]):
    """Reads another tensor than it should; or, if ``hard``, one that does not exist."""

    name: ClassVar[str] = "spoil"
    hard: bool = False

    def analyze(self, graph: Graph) -> _Nothing:
        return _Nothing(())

    def apply(self, plan: _Nothing, editor: GraphEditor) -> None:
        target = TensorRef("nowhere") if self.hard else TensorRef("split", 1)
        editor.set_input("y1" if "y1" in editor else "pair0/y1", 0, target)


@pytest.fixture
def spoiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphrev.api.REGISTRY", {**REGISTRY, "spoil": Spoiling})


@pytest.mark.usefixtures("spoiling")
@pytest.mark.parametrize("kept", [True, False])
def test_a_pass_that_changes_what_is_computed_is_named_and_nothing_written(
    kept: bool, capsys: Capture, tmp_path: Path
) -> None:
    source, output = saved(training(), tmp_path / "in.pb"), tmp_path / "out.pb"
    output.write_bytes(b"precious")
    more = ("--dump-dir", str(tmp_path / "dump")) if kept else ()
    args = ("rewrite", source, "-o", output, "-p", "spoil", *PASS, "--overwrite", *more)
    outcome = invoke(capsys, *args)
    assert outcome.code == 1
    assert "pass 1, 'spoil'" in outcome.err and "pass 1, 'spoil'" in outcome.out
    assert ("--dump-dir" in outcome.err) != kept
    assert output.read_bytes() == b"precious"
    if kept:
        folder = tmp_path / "dump"
        assert len(load(folder / "failed-before.pb").graph) == len(load(source).graph)
        assert load(folder / "failed-after.pb").graph["pair0/y1"].inputs[0] == TensorRef("split", 1)
        assert "-p spoil --verify=numeric" in (folder / "failed-command.txt").read_text()


@pytest.mark.usefixtures("spoiling")
@pytest.mark.parametrize("kept", [True, False])
def test_a_pass_that_leaves_an_invalid_graph_is_named_and_a_reproducer_kept(
    kept: bool, capsys: Capture, tmp_path: Path
) -> None:
    source, output = saved(training(), tmp_path / "in.pb"), tmp_path / "out.pb"
    output.write_bytes(b"precious")
    folder = tmp_path / "dump"
    more = ("--dump-dir", str(folder)) if kept else ()
    spec = "spoil{hard=true}"
    args = ("rewrite", source, "-o", output, *PASS, "-p", spec, "--overwrite", *more)
    outcome = invoke(capsys, *args)
    assert_refused(outcome, 4, "'spoil'", "nowhere", str(folder) if kept else "--dump-dir")
    assert output.read_bytes() == b"precious"
    assert folder.exists() == kept
    if kept:
        before = load(folder / "failed-before.pb").graph
        assert len(before) > len(load(source).graph), "the graph that pass 2 was given"
        command = (folder / "failed-command.txt").read_text()
        assert "'spoil{hard=true}' --verify=structure" in command
