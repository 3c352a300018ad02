from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from graphrev.editor import GraphEditor, replay
from graphrev.errors import InvalidGraphError, PassError
from graphrev.ir import Graph, Node, TensorRef
from graphrev.ir.notation import to_text
from graphrev.pipeline import EXPLANATIONS, Code, Pass, Plan, run


@dataclass(frozen=True)
class Edits(Plan):
    empty: bool

    @property
    def is_empty(self) -> bool:
        return self.empty

    def to_json(self) -> dict[str, Any]:
        return {}

    def summary(self) -> str:
        return "nothing" if self.empty else "something"


@dataclass(frozen=True)
class Renames(Pass[Edits]):
    """Renames ``old``, where it is there."""

    name: ClassVar[str] = "renames"
    old: str = "b"
    new: str = "z"
    seen: list[Graph] = field(default_factory=list)

    def analyze(self, graph: Graph) -> Edits:
        self.seen.append(graph)
        return Edits((), self.old not in graph)

    def apply(self, plan: Edits, editor: GraphEditor) -> None:
        editor.rename(self.old, self.new)


class Idles(Renames):
    """Plans something and then does nothing."""

    name = "idles"

    def apply(self, plan: Edits, editor: GraphEditor) -> None:
        return None


class Breaks(Renames):
    name = "breaks"

    def apply(self, plan: Edits, editor: GraphEditor) -> None:
        editor.set_input("b", 0, TensorRef("gone"))


class Knots(Renames):
    name = "knots"

    def apply(self, plan: Edits, editor: GraphEditor) -> None:
        editor.add_controls("a", ["b"])


def graph() -> Graph:
    return Graph.of([Node("a", "Const"), Node("b", "Neg", (TensorRef("a"),))])


def test_same_graph_object_comes_back_when_nothing_changed() -> None:
    before = graph()
    for passes in ([], [Renames(old="absent")], [Idles()]):
        outcome = run(before, passes)
        assert outcome.after is before
        assert outcome.before is before
        assert outcome.edits == ()
        assert len(outcome.steps) == len(passes)


def test_each_pass_sees_the_result_of_the_one_before() -> None:
    before = graph()
    first, second = Renames(), Renames(old="z", new="y")
    outcome = run(before, [first, second])
    assert second.seen == [outcome.steps[0].after]
    assert [step.before for step in outcome.steps] == [before, outcome.steps[0].after]
    assert list(outcome.after.nodes) == ["a", "y"]
    assert list(before.nodes) == ["a", "b"]
    assert to_text(replay(before, outcome.edits)) == to_text(outcome.after)
    assert {edit.cause.pass_name for edit in outcome.edits} == {"renames"}


@pytest.mark.parametrize("broken", [Breaks(), Knots()])
def test_pass_that_breaks_the_graph_is_blamed_by_name(broken: Renames) -> None:
    before = graph()
    text = to_text(before)
    with pytest.raises(PassError, match=f"Pass '{broken.name}' left an invalid graph behind"):
        run(before, [Renames(old="absent"), broken, Renames()])
    assert to_text(before) == text


def test_invalid_input_is_refused_before_any_pass_looks_at_it() -> None:
    watcher = Renames()
    with pytest.raises(InvalidGraphError, match="reads 'gone:0'"):
        run(Graph.of([Node("b", "Neg", (TensorRef("gone"),))]), [watcher])
    assert watcher.seen == []


def test_stages_are_told_in_order() -> None:
    said: list[str] = []
    run(graph(), [Renames()], said.append)
    assert said == [
        "verifying the input",
        "analyzing for renames",
        "applying renames",
        "verifying after renames",
    ]


def test_every_rejection_code_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Code)
    for code, text in EXPLANATIONS.items():
        assert text.meaning.endswith("."), code
        assert text.remedy.endswith("."), code
