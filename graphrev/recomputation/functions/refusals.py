"""Why functions, or parts of them, are left alone."""

from __future__ import annotations

from graphrev.analysis.functions_bodies import BodyError
from graphrev.analysis.functions_pairs import Twins
from graphrev.ir import Node
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.functions.writing import Change


def kept(node: Node, function: str) -> Rejection:
    """A node whose functions stay as they are."""
    reason = (
        f"'{node.name}' ({node.op}) runs '{function}', and functions are kept as they are here "
        "(functions=keep; or in a live graph, that is differentiated already or that calls them): "
        "save the graph and rewrite the file."
    )
    return Rejection(Code.CROSSES_FRAME, reason, (node.name,))


def inside_of(name: str, where: tuple[str, ...], rejection: Rejection) -> Rejection:
    """A rejection from inside a function, told from outside."""
    reason = f"In what '{name}' runs: {rejection.reason}"
    return Rejection(rejection.code, reason, (*where, *rejection.nodes))


def unreadable(name: str, where: tuple[str, ...], error: Exception) -> Rejection:
    """A body that cannot be read as a graph."""
    nodes = error.nodes if isinstance(error, BodyError) else ()
    return Rejection(
        Code.CROSSES_FRAME, f"What '{name}' runs is left alone: {error}", (*where, *nodes)
    )


def no_counters(twins: Twins) -> Rejection:
    """Loops that are to save their variables now and then, without counters to tell when."""
    reason = (
        f"'{twins.forward}' is to save its variables now and then, and nothing proves in which "
        f"iteration '{twins.backward}' needs which of them."
    )
    return Rejection(Code.DRIFT, reason, (twins.forward, twins.backward))


def no_gain(twins: Twins, change: Change) -> Rejection:
    """A rewrite that would save no value less."""
    reason = (
        f"'{twins.forward}' would hand {change.saved_each_time} new values to its gradient "
        f"'{twins.backward}' and save {len(change.dropped)}: nothing would be gained."
    )
    return Rejection(Code.NO_BACKWARD_READERS, reason, (twins.forward, twins.backward))
