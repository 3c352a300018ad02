"""What differs between two nodes that are the same node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphrev.diff.graph_diff import FieldChange
from graphrev.diff.notation import short_name, short_value
from graphrev.diff.tensors import compare_tensors
from graphrev.ir import AttrValue, Node, TensorRef, TensorValue
from graphrev.ir.notation import value_to_text

Ignored = frozenset[str]
"""Kinds (``op device inputs controls attrs extra``) or names of attributes left out."""
_LOC = b"loc:@"


def same_node(before: Node, after: Node, renamed: Mapping[str, str]) -> bool:
    """Whether the two are the same bytes reading the same nodes; quick, and may miss equality."""
    if before is not after and (before.raw is None or before.raw != after.raw):
        return False
    return not renamed or not any(ref.node in renamed for ref in before.inputs)


def changed_fields(
    before: Node, after: Node, renamed: Mapping[str, str], ignored: Ignored
) -> tuple[FieldChange, ...]:
    """Every field that differs, with the first node read under its new names."""
    found = [
        *(_scalars(before, after)),
        *(_inputs(before, after, renamed)),
        *(_controls(before, after, renamed)),
        *(_attrs(before, after, renamed, ignored)),
    ]
    return tuple(change for change in found if kind_of(change.field) not in ignored)


def kind_of(field: str) -> str:
    """``inputs`` for ``input[2]``, ``attrs`` for ``attr[T]``; the field itself for the others."""
    head, bracket, _ = field.partition("[")
    return f"{head}s" if bracket else head


def _scalars(before: Node, after: Node) -> Iterator[FieldChange]:
    if before.op != after.op:
        yield FieldChange("op", short_name(before.op), short_name(after.op))
    if before.device != after.device:
        yield FieldChange("device", short_name(before.device), short_name(after.device))
    if before.extra != after.extra:
        yield FieldChange("extra", before.extra[:32].hex(), after.extra[:32].hex())


def _inputs(before: Node, after: Node, renamed: Mapping[str, str]) -> Iterator[FieldChange]:
    old = [ref._replace(node=renamed.get(ref.node, ref.node)) for ref in before.inputs]
    for place in range(max(len(old), len(after.inputs))):
        left = old[place] if place < len(old) else None
        right = after.inputs[place] if place < len(after.inputs) else None
        if left != right:
            yield FieldChange(f"input[{place}]", _tensor(left), _tensor(right))


def _tensor(ref: TensorRef | None) -> str | None:
    if ref is None:
        return None
    port = f":{short_name(ref.port)}" if ref.port else ""
    return f"{short_name(ref.node)}{port}:{ref.index}"


def _controls(before: Node, after: Node, renamed: Mapping[str, str]) -> Iterator[FieldChange]:
    old = {renamed.get(name, name) for name in before.control_inputs}
    new = set(after.control_inputs)
    if old != new:
        yield FieldChange("controls", _names(old - new), _names(new - old))


def _names(names: set[str]) -> str | None:
    shown = [f"^{short_name(name)}" for name in sorted(names)]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return ", ".join(shown[:20]) + more if shown else None


def _attrs(
    before: Node, after: Node, renamed: Mapping[str, str], ignored: Ignored
) -> Iterator[FieldChange]:
    if before.attrs is after.attrs or "attrs" in ignored:
        return
    for key in sorted({*before.attrs, *after.attrs} - ignored):
        old, new = before.attrs.get(key), after.attrs.get(key)
        if key == "_class" and renamed:
            old = _moved(old, renamed)
        if _same(old, new):
            continue
        tensor = None
        if isinstance(old, TensorValue) and isinstance(new, TensorValue):
            tensor = compare_tensors(old, new)
        yield FieldChange(
            f"attr[{short_name(key)}]",
            None if old is None else short_value(old),
            None if new is None else short_value(new),
            tensor,
        )


def _same(old: AttrValue | None, new: AttrValue | None) -> bool:
    """Equality as written: NaN equals itself, 1 is not true, 0.0 is not -0.0."""
    if old is new:
        return True
    if old is None or new is None or type(old) is not type(new):
        return False
    if isinstance(old, TensorValue | bytes):
        return old == new
    return value_to_text(old) == value_to_text(new)


def _moved(value: AttrValue | None, renamed: Mapping[str, str]) -> AttrValue | None:
    """Colocation with renamed nodes under their new names."""
    if not isinstance(value, tuple):
        return value
    return tuple(
        _LOC + renamed[name].encode()
        if isinstance(item, bytes)
        and item.startswith(_LOC)
        and (name := item[len(_LOC) :].decode("utf-8", "replace")) in renamed
        else item
        for item in value
    )
