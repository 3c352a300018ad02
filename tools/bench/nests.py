"""Time to analyse graphs of many nested loops or functions, by their size.

Usage: python -m tools.bench.nests [--depth 200] [--sizes 125,250,500]

The nodes are depth times size. What inspect asks is timed: frames, stacks, gradient loops,
branches, calls. Processor time, the least of three.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from types import MappingProxyType

from graphrev.analysis.frames_summary import places
from graphrev.ir import Argument, DType, Function, FunctionRef, Graph, Node, TensorRef


def function(name: str, callee: str | None, size: int) -> Function:
    """Passes its argument through ``size`` nodes and, at the end, through another function."""
    nodes: dict[str, Node] = {}
    ref = TensorRef("x")
    for number in range(size):
        node = Node(f"n{number}", "Identity", (ref,), attrs=MappingProxyType({"T": DType.FLOAT}))
        nodes[node.name], ref = node, TensorRef(node.name, 0, "output")
    if callee is not None:
        attrs = {"f": FunctionRef(callee), "Tin": (DType.FLOAT,), "Tout": (DType.FLOAT,)}
        nodes["call"] = Node("call", "PartitionedCall", (ref,), attrs=MappingProxyType(attrs))
        ref = TensorRef("call", 0, "output")
    argument = (Argument("x", DType.FLOAT),)
    returns = MappingProxyType({"y": ref})
    body = MappingProxyType(nodes)
    outputs = (Argument("y", DType.FLOAT),)
    return Function(
        name, argument, outputs, body, returns, MappingProxyType({}), MappingProxyType({})
    )


def nest(depth: int, size: int, last: str | None = None) -> Graph:
    """A graph that calls functions within functions."""
    names = [f"f{number}" for number in range(depth)]
    made = {
        name: function(name, names[i + 1] if i + 1 < depth else last, size)
        for i, name in enumerate(names)
    }
    attrs = {"f": FunctionRef("f0"), "Tin": (DType.FLOAT,), "Tout": (DType.FLOAT,)}
    x = Node("x", "Placeholder", attrs=MappingProxyType({"dtype": DType.FLOAT}))
    call = Node("call", "PartitionedCall", (TensorRef("x"),), attrs=MappingProxyType(attrs))
    return Graph.of([x, call], functions=MappingProxyType(made))


def loops(depth: int, size: int) -> Graph:
    """``depth`` while loops of TensorFlow 1 in each other, ``size`` nodes in each."""
    nodes: list[Node] = [Node("x", "Const"), Node("p", "Const")]
    ends: list[tuple[str, str]] = []
    inner = "x"
    for number in range(depth):
        frame = MappingProxyType({"frame_name": f"loop{number}".encode(), "is_constant": False})
        at = f"l{number}"
        nodes += [
            Node(f"{at}/enter", "Enter", (TensorRef(inner),), attrs=frame),
            Node(f"{at}/merge", "Merge", (TensorRef(f"{at}/enter"), TensorRef(f"{at}/next"))),
            Node(f"{at}/less", "IsFinite", (TensorRef(f"{at}/merge"),)),
            Node(f"{at}/cond", "LoopCond", (TensorRef(f"{at}/less"),)),
            Node(f"{at}/switch", "Switch", (TensorRef(f"{at}/merge"), TensorRef(f"{at}/cond"))),
        ]
        last = TensorRef(f"{at}/switch", 1)
        for place in range(size):
            nodes.append(Node(f"{at}/n{place}", "Identity", (last,)))
            last = TensorRef(f"{at}/n{place}")
        ends.append((at, last.node))
        inner = last.node
    value = inner
    for at, _ in reversed(ends):
        nodes.append(Node(f"{at}/next", "NextIteration", (TensorRef(value),)))
        nodes.append(Node(f"{at}/exit", "Exit", (TensorRef(f"{at}/switch"),)))
        value = f"{at}/exit"
    return Graph.of(nodes)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="tools.bench.nests", description=__doc__)
    parser.add_argument("--depth", type=int, default=200)
    parser.add_argument("--sizes", default="125,250,500")
    args = parser.parse_args()
    print(f"{'nodes':>10}{'frames':>12}{'functions':>12}  microseconds a node")
    for size in (int(part) for part in args.sizes.split(",")):
        count = args.depth * size
        shown = (_seconds(make(args.depth, size)) / count * 1e6 for make in (loops, nest))
        print(f"{count:>10}" + "".join(f"{each:>12.1f}" for each in shown), flush=True)


def _seconds(graph: Graph) -> float:
    times: list[float] = []
    for _ in range(3):
        fresh = replace(graph)  # without the indices that the last round has built
        start = time.process_time()
        places(fresh)
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
