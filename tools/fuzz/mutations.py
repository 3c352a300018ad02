"""Seeded mutations of bytes, of text and of graphs.

Blind mutations find what a parser forgets; mutations of a parsed graph get past the parser and find
what an analysis takes for granted: edges that cross frames, ops without their inputs, attributes of
another kind, functions that are gone, cycles.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Random = random.Random
_STEPS = 6
_HOSTILE = (
    "",
    "\0",
    "a" * 70000,
    "^",
    "a:b:c",
    "../../x",
    "\x1b[31m",
    "loc:@",
    "é",
    "gradients/",
    "a\nb",
)
_DTYPES = (0, 1, 3, 7, 14, 20, 23, 101, 119, 9999)


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """A few random edits of a byte string: flips, cuts, copies, insertions, long numbers."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, _STEPS))):
        rng.choice(_BYTE_EDITS)(content, rng)
    return bytes(content)


def _flip(content: bytearray, rng: Random) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _cut(content: bytearray, rng: Random) -> None:
    start = rng.randint(0, len(content))
    del content[start : start + rng.choice((1, 2, 8, 64, len(content)))]


def _copy(content: bytearray, rng: Random) -> None:
    start = rng.randint(0, len(content))
    piece = content[start : start + rng.randint(1, 64)]
    place = rng.randint(0, len(content))
    content[place:place] = piece


def _insert(content: bytearray, rng: Random) -> None:
    place = rng.randint(0, len(content))
    content[place:place] = rng.randbytes(rng.choice((1, 2, 5, 10)))


def _large_number(content: bytearray, rng: Random) -> None:
    place = rng.randint(0, len(content))
    content[place : place + rng.choice((0, 1))] = rng.choice(
        (b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\x80" * 10, b"\x7f", b"\0")
    )


_BYTE_EDITS: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip,
    _flip,
    _flip,
    _cut,
    _copy,
    _insert,
    _large_number,
)


def mutate_text(data: bytes, rng: Random) -> bytes:
    """Edits of a text by lines and characters."""
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, _STEPS))):
        first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                lines[first], lines[second] = lines[second], lines[first]
            case 1:
                lines.insert(first, lines[second])
            case 2:
                lines[first] = lines[first][: rng.randint(0, len(lines[first]))]
            case 3:
                place = rng.randint(0, len(lines[first]))
                mark = rng.choice('{}[]()":,=%^@#~\\\0é -1e999')
                lines[first] = lines[first][:place] + mark + lines[first][place:]
            case 4:
                lines[first] = lines[first].replace(rng.choice("0123456789"), rng.choice(_NUMBERS))
            case _:
                lines = lines[: rng.randint(1, len(lines))]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


_NUMBERS = ("-1", "99999999999999999999", "0", "nan", "1e400", "0x10")


def mutate_graph(graph: Any, rng: Random) -> None:
    """Edits a GraphDef in place that still parses afterwards."""
    for _ in range(rng.choice((1, 1, 1, 2, _STEPS))):
        if graph.node:
            rng.choice(_GRAPH_EDITS)(graph, rng)


def _swap_inputs(graph: Any, rng: Random) -> None:
    node = rng.choice(graph.node)
    node.input[:] = rng.sample(list(node.input), len(node.input))


def _other_input(graph: Any, rng: Random) -> None:
    node, source = rng.choice(graph.node), rng.choice(graph.node)
    if node.input:
        port = rng.choice(("", ":0", ":1", ":99999", ":-1"))
        node.input[rng.randrange(len(node.input))] = rng.choice(("", "^")) + source.name + port


def _drop_input(graph: Any, rng: Random) -> None:
    node = rng.choice(graph.node)
    if node.input:
        del node.input[rng.randrange(len(node.input))]


def _add_input(graph: Any, rng: Random) -> None:
    rng.choice(graph.node).input.append(rng.choice(graph.node).name)


def _drop_node(graph: Any, rng: Random) -> None:
    del graph.node[rng.randrange(len(graph.node))]


def _copy_node(graph: Any, rng: Random) -> None:
    twin = graph.node.add()
    twin.CopyFrom(rng.choice(graph.node))
    if rng.random() < 0.8:
        twin.name += "_twin"


def _other_op(graph: Any, rng: Random) -> None:
    rng.choice(graph.node).op = rng.choice(
        (rng.choice(graph.node).op, "Enter", "Exit", "Merge", "Switch", "Split", "NoSuchOp", "")
    )


def _other_name(graph: Any, rng: Random) -> None:
    rng.choice(graph.node).name = rng.choice((*_HOSTILE, rng.choice(graph.node).name))


def _drop_attr(graph: Any, rng: Random) -> None:
    node = rng.choice(graph.node)
    if node.attr:
        del node.attr[rng.choice(sorted(node.attr))]


def _other_attr(graph: Any, rng: Random) -> None:
    node, other = rng.choice(graph.node), rng.choice(graph.node)
    if node.attr and other.attr:
        value = other.attr[rng.choice(sorted(other.attr))]
        node.attr[rng.choice(sorted(node.attr))].CopyFrom(value)


def _other_number(graph: Any, rng: Random) -> None:
    node = rng.choice(graph.node)
    if not node.attr:
        return
    value = node.attr[rng.choice(sorted(node.attr))]
    match value.WhichOneof("value"):
        case "type":
            value.type = rng.choice(_DTYPES)
        case "i":
            value.i = rng.choice((-(2**63), -1, 0, 2**31, 2**63 - 1))
        case "shape":
            value.shape.dim.add().size = rng.choice((-2, -1, 0, 2**62))
        case "s":
            value.s = rng.choice(_HOSTILE).encode()
        case "tensor":
            value.tensor.tensor_shape.dim.add().size = rng.choice((-1, 0, 3, 2**40))
        case _:
            value.Clear()


def _drop_functions(graph: Any, rng: Random) -> None:
    if graph.library.function:
        del graph.library.function[rng.randrange(len(graph.library.function))]


def _call_itself(graph: Any, rng: Random) -> None:
    """A node that calls a function of the graph, or one that does not exist."""
    names = [f.signature.name for f in graph.library.function] or ["none"]
    node = rng.choice(graph.node)
    node.op = rng.choice((rng.choice(names), "PartitionedCall"))
    node.attr["f"].func.name = rng.choice(names)


_GRAPH_EDITS: tuple[Callable[[Any, Random], None], ...] = (
    _swap_inputs,
    _other_input,
    _drop_input,
    _add_input,
    _drop_node,
    _copy_node,
    _other_op,
    _other_name,
    _drop_attr,
    _other_attr,
    _other_number,
    _drop_functions,
    _call_itself,
)
