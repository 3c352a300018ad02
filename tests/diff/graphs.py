"""Small graphs for comparing, made without TensorFlow, and names that mean harm."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from graphrev.api import diff
from graphrev.diff import GraphDiff
from graphrev.ir import DType, Graph, Node, Shape, TensorRef, TensorValue


def node(name: str, op: str, *inputs: str, controls: tuple[str, ...] = (), **attrs: Any) -> Node:
    refs = tuple(
        TensorRef(i.partition(":")[0], int(i.partition(":")[2] or 0))
        if i.count(":") == 1
        else TensorRef(i)
        for i in inputs
    )
    return Node(name, op, refs, controls, attrs=MappingProxyType(attrs))


def floats(*values: float) -> TensorValue:
    """A float constant as TensorFlow writes it."""
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    proto = TensorProto(dtype=1, float_val=values)
    proto.tensor_shape.dim.add(size=len(values))
    return TensorValue(DType.FLOAT, Shape((len(values),)), proto.SerializeToString())


def small() -> Graph:
    """x -> dense -> relu -> out, with a constant kernel."""
    return Graph.of(
        [
            node("x", "Placeholder", dtype=DType.FLOAT, shape=Shape((2, 3))),
            node("net/kernel", "Const", dtype=DType.FLOAT, value=floats(1.0, 0.0, 2.0)),
            node("net/mul", "Mul", "x", "net/kernel", T=DType.FLOAT),
            node("net/relu", "Relu", "net/mul", T=DType.FLOAT),
            node("out", "Identity", "net/relu", T=DType.FLOAT),
        ]
    )


def changed(graph: Graph, *nodes: Node, without: tuple[str, ...] = ()) -> Graph:
    """The graph with nodes replaced or added, and some removed."""
    table = {name: old for name, old in graph.nodes.items() if name not in without}
    table.update((new.name, new) for new in nodes)
    return Graph(MappingProxyType(table), graph.functions, graph.versions)


def compared() -> GraphDiff:
    """A difference with every status in it."""
    after = changed(
        small(),
        node("net/kernel", "Const", dtype=DType.FLOAT, value=floats(1.0, 0.0, 0.0)),
        node("net/rectified", "Relu", "net/mul", T=DType.FLOAT),
        node("net/scaled", "Tanh", "net/rectified", T=DType.FLOAT, controls=("net/mul",)),
        node("out", "Identity", "net/scaled", T=DType.FLOAT),
        without=("net/relu",),
    )
    return diff(small(), after)


HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    '" onfocus="alert(1)" autofocus="',
    "javascript:alert(1)",
    "<!--",
    "-->",
    "<!--<script>",
    "]]>",
    "<![CDATA[x]]>",
    "&lt;b&gt;",
    "&#x3c;script&#x3e;",
    "\\u003cscript\\u003e",
    "<style>*{display:none}</style>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</noscript><script>alert(1)</script>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content=0;url=https://evil.example>",
    "<iframe src=https://evil.example></iframe>",
    '<a href="https://evil.example">x</a>',
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "`${alert(1)}`",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "toString",
    "\x00null",
    "\x07bell",
    "\x08back",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "\x7fdelete",
    "line\nbreak",
    "carriage\rreturn",
    "tab\there",
    "\u2028line separator",
    "\u2029paragraph separator",
    "\u202eright-to-left",
    "\u200fmark",
    "\u2066isolate\u2069",
    "\u200bzero width",
    "\ufeffbom",
    "\ud800lone surrogate",
    "\udc80invalid utf-8",
    "\ufffe",
    "e\u0301\u0301\u0301combining",
    "日本語/かな",
    "💥/\U0001f9e8",
    "%s%n%x",
    "%00",
    "../../../etc/passwd",
    "file:///etc/passwd",
    "'; DROP TABLE nodes; --",
    "a" * 10_000,
    "/".join("s" * 5_000),
    "/",
    "//",
    "a//b",
    "/leading",
    "trailing/",
    " ",
    "@@ -1 +1 @@",
    "+++ b/x",
)
"""Names, ops, attribute keys and values that a careless reader would obey."""


def hostile_pair() -> tuple[Graph, Graph]:
    """Graphs in which every name, op, attribute and value is hostile, and everything differs."""
    before = [node(name, "Const", note=name.encode("utf-8", "surrogatepass")) for name in HOSTILE]
    after = [
        node(
            name,
            name,
            controls=(HOSTILE[0],) if number else (),
            **{name: name.encode("utf-8", "surrogatepass")},
        )
        for number, name in enumerate(HOSTILE)
    ]
    more = [node(f"new/{name}", name, name) for name in HOSTILE if ":" not in name]
    return Graph.of(before), Graph.of([*after, *more])
