"""Adds the small nodes that masks and their update are made of.

Every node is marked with the kernel it serves and its role, which is the record that
``strip-masks`` goes by; constants are shared within a scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.ir import AttrValue, DType, Node, TensorRef, TensorValue
from graphrev.ir.marks import COLLECTIONS_ATTR, KERNEL_ATTR, REPLACES_ATTR, ROLE_ATTR


@dataclass
class Writer:
    """Adds nodes under one scope, for one kernel (or none).

    Attributes:
        editor: where nodes are added.
        scope: the name scope, with its slash.
        kernel: the kernel the nodes serve; empty for what all kernels share.
        device: the device of what is added.
        place: the node that is colocated with, if any.
        shared: constants by type and value; may be handed on to other writers.
        marked: whether the nodes are recorded as serving a mask, which strip-masks removes.
    """

    editor: GraphEditor
    scope: str
    kernel: str = ""
    device: str = ""
    place: str | None = None
    shared: dict[tuple[object, ...], TensorRef] = field(
        default_factory=dict[tuple[object, ...], TensorRef]
    )
    marked: bool = True

    def add(
        self,
        op: str,
        name: str,
        inputs: Iterable[TensorRef],
        attrs: Mapping[str, AttrValue],
        *,
        waits: Iterable[str] = (),
        role: str = "",
        collections: Iterable[str] = (),
        place: str | None = None,
        replaces: TensorRef | None = None,
    ) -> TensorRef:
        """Adds a node and returns its first output."""
        marks: dict[str, AttrValue] = {}
        if self.marked:
            marks[KERNEL_ATTR] = self.kernel.encode()
        if self.marked and role:
            marks[ROLE_ATTR] = role.encode()
        if replaces is not None:
            marks[REPLACES_ATTR] = str(replaces).encode()
        listed = tuple(item.encode() for item in collections)
        if listed:
            marks[COLLECTIONS_ATTR] = listed
        place = place or self.place
        if place is not None:
            marks["_class"] = (f"loc:@{place}".encode(),)
        node = Node(
            name=self.editor.unique_name(self.scope + name),
            op=op,
            inputs=tuple(inputs),
            control_inputs=tuple(dict.fromkeys(waits)),
            device=self.device,
            attrs=MappingProxyType({**attrs, **marks}),
        )
        return TensorRef(self.editor.add(node))

    def constant(self, value: TensorValue, name: str = "Const", role: str = "") -> TensorRef:
        """Adds a constant."""
        attrs: dict[str, AttrValue] = {"dtype": value.dtype, "value": value}
        return self.add("Const", name, (), attrs, role=role)

    def scalar(self, dtype: DType, value: float) -> TensorRef:
        """A scalar constant, shared."""
        key = (dtype, repr(value), self.device)
        if key not in self.shared:
            self.shared[key] = self.constant(constants.splat(dtype, value))
        return self.shared[key]

    def vector(self, dtype: DType, values: Iterable[int]) -> TensorRef:
        """A one-dimensional constant, shared."""
        items = tuple(values)
        key = (dtype, items, self.device)
        if key not in self.shared:
            self.shared[key] = self.constant(constants.vector(dtype, items))
        return self.shared[key]

    def unary(self, op: str, x: TensorRef, dtype: DType = DType.DOUBLE) -> TensorRef:
        """An op of one operand that keeps the type."""
        return self.add(op, op, (x,), {"T": dtype})

    def binary(self, op: str, x: TensorRef, y: TensorRef, dtype: DType = DType.DOUBLE) -> TensorRef:
        """An op of two operands of one type."""
        return self.add(op, op, (x, y), {"T": dtype})

    def compare(
        self, op: str, x: TensorRef, y: TensorRef, dtype: DType = DType.DOUBLE
    ) -> TensorRef:
        """A comparison: a bool tensor."""
        return self.add(op, op, (x, y), {"T": dtype})

    def cast(self, x: TensorRef, old: DType, new: DType) -> TensorRef:
        """A cast; ``x`` itself where the type is right already."""
        if old is new:
            return x
        return self.add("Cast", "Cast", (x,), {"SrcT": old, "DstT": new, "Truncate": False})

    def reshape(self, x: TensorRef, dims: Iterable[int], dtype: DType) -> TensorRef:
        """``x`` in another static shape."""
        shape = self.vector(DType.INT32, dims)
        return self.add("Reshape", "Reshape", (x, shape), {"T": dtype, "Tshape": DType.INT32})


@dataclass(frozen=True, slots=True)
class AddedVariable:
    """A variable that was added.

    Attributes:
        variable: its node.
        value: a read of it, outside all control flow.
        assign: its initializer.
        initial: the constant it starts as.
    """

    variable: str
    value: TensorRef
    assign: str
    initial: TensorRef
    dtype: DType
    is_resource: bool


def add_variable(
    writer: Writer,
    name: str,
    initial: TensorValue,
    *,
    is_resource: bool,
    role: str,
    collections: Iterable[str] = (),
    records: Mapping[str, AttrValue] | None = None,
) -> AddedVariable:
    """Adds a variable with its initializer and a read, as ``tf.get_variable`` does.

    Args:
        records: attributes for whoever reads the graph later.
    """
    dtype, shape = initial.dtype, initial.shape
    attrs: dict[str, AttrValue] = {"dtype": dtype, "shape": shape, "container": b""}
    attrs.update(records or {})
    attrs["shared_name"] = writer.editor.unique_name(writer.scope + name).encode()
    op = "VarHandleOp" if is_resource else "VariableV2"
    if not is_resource:
        attrs["shared_name"] = b""
    variable = writer.add(op, name, (), attrs, role=role, collections=collections)
    inner = replace(writer, scope=f"{variable.node}/", shared={})
    start = inner.constant(initial, "Initializer/value", f"{role}-initial")
    if is_resource:
        assign = inner.add(
            "AssignVariableOp", "Assign", (variable, start), {"dtype": dtype}, role=f"{role}-assign"
        )
        value = inner.add(
            "ReadVariableOp",
            "Read/ReadVariableOp",
            (variable,),
            {"dtype": dtype},
            role=f"{role}-read",
        )
    else:
        set_attrs: dict[str, AttrValue] = {
            "T": dtype,
            "use_locking": True,
            "validate_shape": True,
        }
        assign = inner.add("Assign", "Assign", (variable, start), set_attrs, role=f"{role}-assign")
        value = inner.add("Identity", "read", (variable,), {"T": dtype}, role=f"{role}-read")
    return AddedVariable(variable.node, value, assign.node, start, dtype, is_resource)


def assign(
    writer: Writer,
    variable: str,
    value: TensorRef,
    dtype: DType,
    *,
    is_resource: bool,
    waits: Iterable[str] = (),
) -> str:
    """Adds an assignment and returns its node."""
    target = TensorRef(variable)
    if is_resource:
        return writer.add(
            "AssignVariableOp", "Assign", (target, value), {"dtype": dtype}, waits=waits
        ).node
    attrs: dict[str, AttrValue] = {"T": dtype, "use_locking": False, "validate_shape": True}
    return writer.add("Assign", "Assign", (target, value), attrs, waits=waits).node
