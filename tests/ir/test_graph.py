from __future__ import annotations

import dataclasses
from types import MappingProxyType

import pytest

from graphrev.errors import InvalidGraphError
from graphrev.ir import DType, Graph, Node, Shape, TensorRef


def net() -> Graph:
    return Graph.of(
        [
            Node("a", "Split"),
            Node("b", "Add", (TensorRef("a"), TensorRef("a", 1))),
            Node("c", "Neg", (TensorRef("a", 1),), ("b",)),
            Node("d", "NoOp", (), ("b", "c")),
        ]
    )


def test_readers_of_a_node_and_of_one_tensor_come_in_graph_order() -> None:
    graph = net()
    assert graph.readers == {"a": ("b", "c")}
    assert graph.control_readers == {"b": ("c", "d"), "c": ("d",)}
    assert graph.readers_of(TensorRef("a")) == ("b",)
    assert graph.readers_of(TensorRef("a", 1)) == ("b", "c")
    assert graph.readers_of(TensorRef("d")) == ()


def test_later_node_of_a_name_replaces_the_earlier() -> None:
    graph = Graph.of([Node("a", "Const"), Node("b", "Neg"), Node("a", "Abs")])
    assert [(n.name, n.op) for n in graph.nodes.values()] == [("a", "Abs"), ("b", "Neg")]


def test_graph_and_nodes_cannot_be_changed() -> None:
    graph = net()
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.extra = b"x"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph["a"].op = "Neg"  # type: ignore[misc]
    with pytest.raises(TypeError):
        graph.nodes["z"] = Node("z", "Neg")  # type: ignore[index]
    with pytest.raises(TypeError):
        graph.readers["z"] = ()  # type: ignore[index]


def test_changed_copy_no_longer_claims_the_bytes_that_were_read() -> None:
    node = Node("a", "Add", attrs=MappingProxyType({"k": 1}), raw=b"read")
    copy = node.evolve(device="/gpu:0")
    assert (node.raw, copy.raw, copy.device) == (b"read", None, "/gpu:0")
    assert dict(node.with_attr("k", None).attrs) == {}
    assert dict(node.with_attr("n", 2).attrs) == {"k": 1, "n": 2}
    assert dict(node.attrs) == {"k": 1}


def test_nodes_and_graphs_compare_by_identity() -> None:
    assert Node("a", "Add") != Node("a", "Add")
    assert net() != net()


def test_tensor_is_spelled_as_tensorflow_spells_it() -> None:
    assert str(TensorRef("a/b", 2)) == "a/b:2"
    assert str(TensorRef("a", 0, "out")) == "a:out:0"


@pytest.mark.parametrize(
    ("dims", "known"), [((), True), ((2, 0), True), ((2, None), False), (None, False)]
)
def test_shape_says_whether_all_of_it_is_known(dims: tuple[int, ...] | None, known: bool) -> None:
    assert Shape(dims).is_fully_defined is known


def test_reference_types_know_their_base() -> None:
    ref = DType(101)
    assert (ref.name, ref.is_ref, ref.base) == ("FLOAT_REF", True, DType.FLOAT)
    assert DType(101) is ref
    assert ref.is_floating
    assert ref.byte_size == 4
    assert (DType.FLOAT.is_ref, DType.FLOAT.base) == (False, DType.FLOAT)


def test_type_of_a_later_tensorflow_is_kept_by_number() -> None:
    later = DType(77)
    assert (later.name, int(later), later.byte_size, later.epsilon) == (
        "UNKNOWN_77",
        77,
        None,
        None,
    )
    assert not later.is_floating
    assert not later.is_ref


def test_element_types_agree_with_tensorflow() -> None:
    import numpy as np
    import tensorflow as tf

    for dtype in DType:
        if dtype in (DType.INVALID, DType.STRING, DType.RESOURCE, DType.VARIANT):
            assert dtype.byte_size is None
            continue
        try:
            known = tf.dtypes.as_dtype(int(dtype))
        except TypeError:
            continue
        assert known.name.replace("float16", "half").upper() in (
            dtype.name,
            dtype.name.replace("BFLOAT16", "BHALF"),
            dtype.name.replace("FLOAT", "FLOAT32"),
            dtype.name.replace("DOUBLE", "FLOAT64"),
        )
        if dtype.byte_size is not None:
            assert dtype.byte_size == np.dtype(known.as_numpy_dtype).itemsize
        if dtype.epsilon is not None:
            import ml_dtypes

            assert dtype.epsilon == float(ml_dtypes.finfo(known.as_numpy_dtype).eps)


def test_an_attribute_that_is_missing_or_of_another_kind_is_named() -> None:
    node = Node("x", "Cast", attrs=MappingProxyType({"SrcT": DType.FLOAT, "DstT": 3}))
    assert node.attr("DstT") == 3
    assert node.dtype_attr("SrcT") is DType.FLOAT
    with pytest.raises(InvalidGraphError, match="'x', a 'Cast', has no attribute 'T'"):
        node.attr("T")
    with pytest.raises(InvalidGraphError, match="'DstT' of node 'x', a 'Cast', is no type"):
        node.dtype_attr("DstT")
    with pytest.raises(InvalidGraphError, match="is no tensor"):
        node.tensor_attr("SrcT")
