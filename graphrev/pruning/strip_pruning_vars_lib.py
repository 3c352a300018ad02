"""A frozen graph without its masks, and a frozen graph from a checkpoint.

Source: contrib/model_pruning/python/strip_pruning_vars_lib.py of TensorFlow 1.15. A masked weight
becomes a constant under its own name, as there; it is found by what it is, the product of a
constant and a constant mask, where contrib took every node whose name held ``masked_weight``.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow

from graphrev.errors import printable
from graphrev.io.graph_defs import decode_graph
from graphrev.io.tensors import to_numpy
from graphrev.io.writing import write_file
from graphrev.ir import Graph, TensorRef
from graphrev.ir.marks import role_of
from graphrev.passes.strip_masks.frozen import find_folds, hands_on
from graphrev.passes.strip_masks.plan import Fold
from graphrev.pruning.errors import (
    PruningAssertionError,
    PruningTypeError,
    PruningValueError,
)

tf: Any = tensorflow.compat.v1
_tensors: Any = importlib.import_module("tensorflow.core.framework.tensor_pb2")
_PRODUCT = "masked_weight"
_log = logging.getLogger("graphrev")


def strip_pruning_vars_fn(input_graph_def: Any, output_node_names: Sequence[str]) -> Any:
    """The part of a frozen graph that its outputs need, each masked weight a constant.

    The outputs are bit for bit those of the masked graph; no feeds are needed. Nodes are found by
    what they are, never by name, so a node that is only called like a mask stays.

    Args:
        input_graph_def: a GraphDef whose variables were made constants, as
            ``convert_variables_to_constants`` does.
        output_node_names: a list of node names.

    Raises:
        TypeError: the names are no list (a ``PruningTypeError``).
        AssertionError: a name is not in the graph (a ``PruningAssertionError``).
        ValueError: a masked weight is not constant (a ``PruningValueError``).
    """
    _check_names(input_graph_def, output_node_names)
    graph = decode_graph(input_graph_def.SerializeToString())
    folds = {fold.product: fold for fold in find_folds(graph)}
    stripped = tf.GraphDef()
    stripped.CopyFrom(input_graph_def)
    del stripped.node[:]
    nodes = {node.name: node for node in input_graph_def.node}
    for node in input_graph_def.node:
        fold = folds.get(node.name)
        if fold is None:
            stripped.node.add().CopyFrom(node)
        else:
            _add_constant(stripped, nodes, graph, fold)
    result = _needed(stripped, output_node_names)
    for node in result.node:
        added = node.name not in graph
        if not added and node.name not in folds and role_of(graph[node.name]) == _PRODUCT:
            raise PruningValueError(
                f"The masked weight '{printable(node.name)}' is no product of constants. Freeze "
                "the graph first, with tf.compat.v1.graph_util.convert_variables_to_constants."
            )
    return result


def _check_names(graph_def: Any, names: Any) -> None:
    if isinstance(names, (str, bytes)) or not isinstance(names, Sequence):
        raise PruningTypeError(
            f"output_node_names must be a list of node names, not {type(names).__name__}."
        )
    present = {node.name for node in graph_def.node}
    for name in names:
        if name not in present:
            raise PruningAssertionError(f"{printable(str(name))} is not in graph")


def _needed(graph_def: Any, names: Sequence[str]) -> Any:
    return tf.graph_util.extract_sub_graph(graph_def, list(names))


def _add_constant(stripped: Any, nodes: Mapping[str, Any], graph: Graph, fold: Fold) -> None:
    """Adds the masked weight; one inside a loop enters it as the kernel did."""
    constant = stripped.node.add(op="Const", name=fold.product)
    constant.attr["dtype"].type = int(fold.value.dtype)
    constant.attr["value"].tensor.CopyFrom(_tensors.TensorProto.FromString(fold.value.raw))
    value = to_numpy(fold.value)
    share = 1.0 - np.count_nonzero(value) / max(value.size, 1)
    _log.info("%s has %d values, %.2f%% zeros", printable(fold.product), value.size, 100 * share)
    found = (_enter(graph, ref) for ref in graph[fold.product].inputs)
    enter = next((name for name in found if name is not None), None)
    if enter is not None:
        constant.name = f"{fold.product}/folded"
        while constant.name in nodes:
            constant.name += "_"
        node = stripped.node.add(op="Enter", name=fold.product, input=[constant.name])
        for key, attr in nodes[enter].attr.items():
            node.attr[key].CopyFrom(attr)


def _enter(graph: Graph, ref: TensorRef) -> str | None:
    """The node that leads a constant into a loop, if there is one."""
    node = graph[ref.node]
    while hands_on(node):
        if node.op == "Enter":
            return node.name
        node = graph[node.inputs[0].node]
    return None


def graph_def_from_checkpoint(checkpoint_dir: str, output_node_names: Sequence[str]) -> Any:
    """The latest checkpoint of a folder, frozen: what its outputs need, variables as constants.

    Args:
        checkpoint_dir: a folder with a checkpoint and its ``.meta`` file.
        output_node_names: a list of node names.

    Raises:
        ValueError: the folder holds no checkpoint (a ``PruningValueError``).
    """
    prefix = tf.train.latest_checkpoint(checkpoint_dir)
    if prefix is None:
        raise PruningValueError(
            f"Could not find a checkpoint at: {printable(str(checkpoint_dir))}."
        )
    return frozen(prefix, output_node_names)


def frozen(prefix: str, output_node_names: Sequence[str]) -> Any:
    """A checkpoint, frozen: what its outputs need, variables as constants.

    Args:
        prefix: of a checkpoint with a ``.meta`` file beside it.
        output_node_names: a list of node names.
    """
    graph = tensorflow.Graph()
    with graph.as_default(), tf.Session(graph=graph) as session:
        saver = tf.train.import_meta_graph(f"{prefix}.meta", clear_devices=True)
        _check_names(graph.as_graph_def(), output_node_names)
        saver.restore(session, prefix)
        return tf.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), list(output_node_names)
        )


def strip_pruning_vars(
    checkpoint_dir: str, output_node_names: str, output_dir: str, filename: str
) -> None:
    """Writes the latest checkpoint of a folder, frozen and without masks, as ``.pb``.

    Args:
        output_node_names: node names separated by commas; blanks are ignored.

    Raises:
        ValueError: there is no name, or no checkpoint (a ``PruningValueError``).
        OutputError: the file cannot be written.
    """
    names = [name for name in output_node_names.replace(" ", "").split(",") if name]
    if not names:
        raise PruningValueError(
            "Need to specify atleast 1 output node through output_node_names flag"
        )
    stripped = strip_pruning_vars_fn(graph_def_from_checkpoint(checkpoint_dir, names), names)
    write_file(Path(output_dir) / filename, stripped.SerializeToString(deterministic=True))


def _node_name(tensor_name: str) -> str:  # pyright: ignore[reportUnusedFunction]
    """The name of a tensor's node; programs that test themselves as contrib did call this."""
    return tensor_name.partition(":")[0]
