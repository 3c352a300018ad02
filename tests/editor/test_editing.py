from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrev.editor import EditError, GraphEditor, rename_nodes, replay
from graphrev.edits import AddNode, Cause, RemoveNode, RenameNode, SetAttr, SetControls, SetInput
from graphrev.ir import DType, Graph, Node, TensorRef
from graphrev.ir.notation import to_text


def node(name: str, *inputs: str, op: str = "Add", **attrs: Any) -> Node:
    """A node; inputs are written ``a``, ``a:1`` or ``^a``."""
    data = [i for i in inputs if not i.startswith("^")]
    refs = [TensorRef(i.partition(":")[0], int(i.partition(":")[2] or 0)) for i in data]
    waits = tuple(i[1:] for i in inputs if i.startswith("^"))
    return Node(name, op, tuple(refs), waits, attrs=MappingProxyType(attrs), raw=name.encode())


def diamond() -> Graph:
    return Graph.of(
        [
            node("a", op="Const"),
            node("b", "a", _class=(b"loc:@a",)),
            node("c", "a:1", "^b"),
            node("d", "b", "c", "b", "^a"),
        ]
    )


def same(left: Graph, right: Graph) -> bool:
    """Equal in everything the notation spells, the order of nodes included."""
    return to_text(left) == to_text(right)


# --- property: a log replays to the identical graph ---------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 6))):
        earlier = st.sampled_from([n.name for n in nodes] or ["n0"])
        inputs = draw(st.lists(earlier, max_size=3)) if nodes else []
        waits = draw(st.lists(earlier, max_size=2, unique=True)) if nodes else []
        nodes.append(
            node(f"n{number}", *inputs, *(f"^{w}" for w in waits), k=number, _class=(b"loc:@n0",))
        )
    return Graph.of(nodes)


ATTRS = st.sampled_from([None, 1, True, 1.0, 0.0, -0.0, math.nan, b"x", (1,), (True,), (1.0,)])
NAMES = [f"{letter}{number}" for letter in "nm" for number in range(6)]


def edit_once(editor: GraphEditor, data: st.DataObject) -> None:
    present = [name for name in NAMES if name in editor]
    if not present:
        editor.add(node("n0", op="Const"))
        return
    pick, other = (data.draw(st.sampled_from(present)) for _ in range(2))
    free = [name for name in NAMES if name not in editor]
    kind = data.draw(st.integers(0, 6))
    if kind == 0 and free:
        editor.add(node(data.draw(st.sampled_from(free)), pick, f"^{other}"))
    elif kind == 1 and not list(editor.readers(pick)):
        editor.remove(pick)
    elif kind == 2 and editor[pick].inputs:
        last = len(editor[pick].inputs) - 1
        position = data.draw(st.integers(0, last))
        editor.set_input(pick, position, TensorRef(other, data.draw(st.integers(0, 1))))
    elif kind == 3:
        editor.add_controls(pick, [other])
    elif kind == 4:
        editor.set_attr(pick, "k", data.draw(ATTRS))
    elif kind == 5 and free:
        editor.rename(pick, data.draw(st.sampled_from(free)))
    elif kind == 6:
        shuffled = data.draw(st.permutations(present))
        editor.rename_all(dict(zip(present, shuffled)))


@settings(max_examples=150, deadline=None)
@given(graph=graphs(), data=st.data())
def test_log_replays_to_the_identical_graph(graph: Graph, data: st.DataObject) -> None:
    start = to_text(graph)
    editor = GraphEditor(graph)
    for _ in range(data.draw(st.integers(0, 8))):
        edit_once(editor, data)
    result, log = editor.finish()
    assert same(replay(graph, log), result)
    assert to_text(graph) == start
    added = {id(edit.node) for edit in log if isinstance(edit, AddNode)}
    for name, kept in result.nodes.items():
        assert kept.raw is None or kept is graph.nodes.get(name) or id(kept) in added
    for name in result.nodes:
        readers = {
            n.name
            for n in result.nodes.values()
            if name in n.control_inputs or any(ref.node == name for ref in n.inputs)
        }
        assert set(editor.readers(name)) == readers


def test_no_edit_gives_the_same_graph_object_and_an_empty_log() -> None:
    graph = diamond()
    editor = GraphEditor(graph)
    editor.set_input("b", 0, TensorRef("a"))
    editor.set_controls("c", ("b",))
    editor.set_attr("b", "_class", (b"loc:@a",))
    editor.set_attr("b", "absent", None)
    editor.rename_all({})
    result, log = editor.finish()
    assert result is graph
    assert log == ()


def test_unedited_nodes_stay_the_same_objects_and_order_is_kept() -> None:
    graph = diamond()
    editor = GraphEditor(graph)
    editor.set_input("c", 0, TensorRef("b"))
    result, _ = editor.finish()
    assert list(result.nodes) == ["a", "b", "c", "d"]
    assert [name for name in graph.nodes if result[name] is graph[name]] == ["a", "b", "d"]
    assert result["c"].raw is None
    assert graph["c"].inputs == (TensorRef("a", 1),)


def test_every_edit_is_logged_with_what_was_and_why() -> None:
    editor = GraphEditor(diamond(), Cause("tidy"))
    with editor.because("block", "reason"):
        editor.set_input("b", 0, TensorRef("a", 2))
    editor.set_controls("c", ())
    editor.set_attr("b", "T", DType.FLOAT)
    editor.remove("d")
    editor.rename("c", "z")
    inner, outer = Cause("tidy", "block", "reason"), Cause("tidy")
    _, log = editor.finish()
    removed = log[3]
    assert isinstance(removed, RemoveNode)
    assert log == (
        SetInput("b", 0, TensorRef("a"), TensorRef("a", 2), inner),
        SetControls("c", ("b",), (), outer),
        SetAttr("b", "T", None, DType.FLOAT, outer),
        RemoveNode(removed.node, outer),
        RenameNode("c", "z", outer),
    )
    assert removed.node.name == "d"


def test_cause_is_restored_when_a_block_of_edits_fails() -> None:
    editor = GraphEditor(diamond(), Cause("tidy"))
    with pytest.raises(EditError), editor.because("block", "reason"):
        editor.remove("a")
    editor.set_controls("c", ())
    assert editor.finish()[1][0].cause == Cause("tidy")


@pytest.mark.parametrize(
    ("old", "new"),
    [(1, True), (1, 1.0), (0.0, -0.0), ((1,), (True,)), ((1,), (1.0,)), ((0.0,), (-0.0,))],
)
def test_attribute_of_another_type_or_sign_is_a_change(old: Any, new: Any) -> None:
    editor = GraphEditor(Graph.of([node("a", k=old)]))
    editor.set_attr("a", "k", new)
    assert repr(editor["a"].attrs["k"]) == repr(new)
    assert len(editor.finish()[1]) == 1


# --- names --------------------------------------------------------------------------------------


def test_names_are_made_unique_as_tensorflow_does() -> None:
    editor = GraphEditor(Graph.of([node("a"), node("a_1"), node("a_3")]))
    assert editor.unique_name("b") == "b"
    names = [editor.add(node(editor.unique_name("a"))) for _ in range(3)]
    assert names == ["a_2", "a_4", "a_5"]


def test_name_of_a_removed_node_is_free_again() -> None:
    editor = GraphEditor(diamond())
    editor.remove("d")
    assert editor.unique_name("d") == "d"


def test_clone_keeps_device_and_attributes_and_claims_no_bytes() -> None:
    graph = Graph.of([node("a"), Node("b", "Add", device="/gpu:0", extra=b"x", raw=b"r")])
    editor = GraphEditor(graph)
    name = editor.clone("b", "a", (TensorRef("a"),), (), {"k": 1})
    copy = editor[name]
    assert (name, copy.device, copy.extra, copy.raw) == ("a_1", "/gpu:0", b"", None)
    assert dict(copy.attrs) == {"k": 1}
    (added,) = editor.finish()[1]
    assert isinstance(added, AddNode)
    assert added.origin == "b"
    assert editor["b"] is graph["b"]


# --- edges --------------------------------------------------------------------------------------


def test_redirect_moves_only_the_named_readers_and_only_that_tensor() -> None:
    editor = GraphEditor(diamond())
    assert editor.redirect(TensorRef("b"), TensorRef("a", 3), ["d"]) == 2
    assert editor.redirect(TensorRef("a"), TensorRef("d"), ["c"]) == 0
    result, _ = editor.finish()
    assert result["d"].inputs == (TensorRef("a", 3), TensorRef("c"), TensorRef("a", 3))
    assert result["d"].control_inputs == ("a",)
    assert result["c"].inputs == (TensorRef("a", 1),)


def test_controls_are_added_once_behind_those_there_are() -> None:
    editor = GraphEditor(diamond())
    editor.add_controls("d", ["c", "a", "c", "b"])
    assert editor["d"].control_inputs == ("a", "c", "b")


def test_readers_follow_edits() -> None:
    editor = GraphEditor(diamond())
    assert list(editor.readers("b")) == ["d", "c"]
    editor.set_controls("c", ())
    editor.add(node("e", "b"))
    editor.set_input("d", 0, TensorRef("a"))
    editor.set_input("d", 2, TensorRef("a"))
    assert list(editor.readers("b")) == ["e"]


# --- renaming -----------------------------------------------------------------------------------


def test_rename_follows_edges_controls_and_colocation() -> None:
    graph = diamond()
    editor = GraphEditor(graph)
    editor.rename("a", "z")
    result, _ = editor.finish()
    assert list(result.nodes) == ["z", "b", "c", "d"]
    assert result["b"].inputs == (TensorRef("z"),)
    assert result["b"].attrs["_class"] == (b"loc:@z",)
    assert result["c"].inputs == (TensorRef("z", 1),)
    assert result["d"].control_inputs == ("z",)
    assert "a" not in result


def test_rename_leaves_alone_what_only_looks_alike() -> None:
    alike = node("ab", op="Const", note=b"loc:@a", _class=(b"loc:@ab", b"a"))
    renamed = rename_nodes({"a": node("a"), "ab": alike}, {"a": "z"})
    assert renamed["ab"] is alike


def test_names_may_be_swapped_and_the_log_still_replays() -> None:
    graph = diamond()
    editor = GraphEditor(graph)
    editor.rename_all({"b": "c", "c": "b", "a": "d", "d": "e"})
    result, log = editor.finish()
    assert list(result.nodes) == ["d", "c", "b", "e"]
    assert result["e"].inputs == (TensorRef("c"), TensorRef("b"), TensorRef("c"))
    assert same(replay(graph, log), result)


# --- errors -------------------------------------------------------------------------------------


def test_edits_that_make_no_sense_are_refused_and_change_nothing() -> None:
    graph = diamond()
    editor = GraphEditor(graph)
    wrong = [
        (lambda: editor["x"], "There is no node 'x'"),
        (lambda: editor.add(node("a")), "'a' exists already"),
        (lambda: editor.remove("a"), "'a' cannot be removed: 'b' still uses it"),
        (lambda: editor.remove("x"), "There is no node 'x'"),
        (lambda: editor.rename("a", "b"), "'b' exists already"),
        (lambda: editor.rename("x", "y"), "There is no node 'x'"),
        (lambda: editor.rename_all({"a": "b"}), "'b' exists already"),
        (lambda: editor.rename_all({"a": "y", "b": "y"}), "'y'"),
        (lambda: editor.set_input("x", 0, TensorRef("a")), "There is no node 'x'"),
        (lambda: editor.set_input("b", 1, TensorRef("c")), "'b' has 1 inputs"),
        (lambda: editor.set_input("b", -1, TensorRef("c")), "'b' has 1 inputs"),
        (lambda: editor.set_attr("x", "k", 1), "There is no node 'x'"),
        (lambda: editor.redirect(TensorRef("a"), TensorRef("b"), ["x"]), "There is no node 'x'"),
    ]
    for attempt, message in wrong:
        with pytest.raises(EditError, match=message):
            attempt()
    assert editor.finish() == (graph, ())


def test_replay_on_another_graph_is_refused() -> None:
    editor = GraphEditor(diamond())
    editor.remove("d")
    with pytest.raises(EditError, match="There is no node 'd'"):
        replay(Graph.of([node("a")]), editor.finish()[1])
