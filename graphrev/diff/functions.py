"""Library functions that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from graphrev.diff.graph_diff import FieldChange, FunctionChange, NodeChange, Status
from graphrev.diff.notation import short_name, short_value
from graphrev.ir import Argument, Function, Node
from graphrev.ir.notation import value_to_text

Functions = Mapping[str, Function]
Compare = Callable[[Mapping[str, Node], Mapping[str, Node]], tuple[NodeChange, ...]]


def changed_functions(
    before: Functions, after: Functions, compare: Compare
) -> tuple[FunctionChange, ...]:
    """Functions added, removed or changed, sorted by name.

    Args:
        compare: compares two bodies.
    """
    found: list[FunctionChange] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            status = Status.ADDED if old is None else Status.REMOVED
            found.append(FunctionChange(name, status))
        elif old is not new and (old.raw is None or old.raw != new.raw):
            fields, nodes = _interface(old, new), compare(old.nodes, new.nodes)
            if fields or nodes:
                found.append(FunctionChange(name, Status.CHANGED, fields, nodes))
    return tuple(found)


def _interface(before: Function, after: Function) -> tuple[FieldChange, ...]:
    left, right = _parts(before), _parts(after)
    return tuple(
        FieldChange(key, left.get(key), right.get(key))
        for key in dict.fromkeys((*left, *right))
        if left.get(key) != right.get(key)
    )


def _parts(function: Function) -> dict[str, str]:
    found = {
        "arguments": _arguments(function.inputs),
        "results": _arguments(function.outputs),
        "stateful": str(function.stateful).lower(),
    }
    for key, ref in sorted(function.returns.items()):
        found[f"return[{short_name(key)}]"] = short_name(str(ref))
    for key, node in sorted(function.control_returns.items()):
        found[f"control_return[{short_name(key)}]"] = short_name(node)
    for key, value in sorted(function.attrs.items()):
        found[f"attr[{short_name(key)}]"] = short_value(value)
    return found


def _arguments(arguments: Iterable[Argument]) -> str:
    return ", ".join(
        f"{short_name(a.name)}: {'?' if a.dtype is None else value_to_text(a.dtype)}"
        for a in arguments
    )
