"""What seeing the difference of two large graphs costs.

Usage: python -m tools.bench.diff [--sizes 5000,50000] [--rounds 3] [--json FILE]

Prints, for pairs without one node in fifty, the processor time of ``diff`` and its HTML page (the
least of the rounds), the page's size, and, where Chromium is installed, how soon the page is seen
and answers.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

from graphrev.api import diff
from graphrev.ir import DType, Graph, Node, TensorRef
from tools.webdriver import browser, chromium

_OPS = ("Relu", "Tanh", "Identity", "AddV2", "Mul")


def large_pair(total: int, *, flat: bool) -> tuple[Graph, Graph]:
    """A graph of binary and unary ops, and a copy without one node in fifty."""
    generator = random.Random(total)
    nodes: list[Node] = []
    for number in range(total):
        op = _OPS[number % 5] if number else "Placeholder"
        near = (nodes[max(0, number - generator.randint(1, 20))].name for _ in range(2))
        count = 0 if not number else 2 if op in ("AddV2", "Mul") else 1
        inputs = tuple(TensorRef(next(near)) for _ in range(count))
        scope = "" if flat else f"tower{number // 5000}/block{number // 500 % 10}/"
        nodes.append(Node(f"{scope}n{number}", op, inputs, attrs=_ATTRS))
    gone = {
        nodes[i].name: nodes[i].inputs[0] for i in generator.sample(range(1, total), total // 50)
    }
    return Graph.of(nodes), Graph.of(_without(nodes, gone))


_ATTRS = MappingProxyType({"T": DType.FLOAT})


def _without(nodes: list[Node], gone: dict[str, TensorRef]) -> list[Node]:
    found: list[Node] = []
    for node in nodes:
        if node.name not in gone:
            inputs = list(node.inputs)
            for place, ref in enumerate(inputs):
                while ref.node in gone:
                    ref = gone[ref.node]
                inputs[place] = ref
            found.append(Node(node.name, node.op, tuple(inputs), attrs=_ATTRS))
    return found


ACTIONS = (
    "byId('query').value = 'n12'; search()",
    "byId('query').value = '/n1.*7$/'; search()",
    "jump(Math.min(5, shown.length - 1))",
    "[...document.querySelectorAll('#tree .row')].pop().click()",
    "see(0)",
)
"""What somebody does with a page: search, jump to a change, open a scope, step through a run."""


def page_of(total: int, *, flat: bool, rounds: int) -> tuple[float, str]:
    """Processor seconds to make a page, the least of ``rounds``, and the page."""
    best, page = float("inf"), ""
    for _ in range(rounds):
        pair = large_pair(total, flat=flat)
        start = time.process_time()
        page = diff(*pair).to_html()
        best = min(best, time.process_time() - start)
    return best, page


def seen(page: str, rounds: int) -> tuple[float, float]:
    """Seconds until a page is seen, and the longest that it takes to answer."""
    timed = "const start = performance.now(); {}; return performance.now() - start"
    with tempfile.TemporaryDirectory() as folder, browser() as window:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        first = min(window.open(file) for _ in range(rounds))
        answers = [float(window.run(timed.format(action))) / 1000 for action in ACTIONS]
        return first, max(answers)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="tools.bench.diff", description=__doc__)
    parser.add_argument("--sizes", default="5000,50000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"{'nodes':>8}  {'names':<7}{'page s':>8}{'MB':>7}{'seen s':>9}{'answers s':>11}")
    rows: list[dict[str, Any]] = []
    for total in map(int, args.sizes.split(",")):
        for flat in (False, True):
            seconds, page = page_of(total, flat=flat, rounds=args.rounds)
            first, answer = (None, None) if chromium() is None else seen(page, args.rounds)
            size = len(page.encode()) / 1e6
            rows.append(
                {
                    "nodes": total,
                    "names": "flat" if flat else "scopes",
                    "seconds": seconds,
                    "megabytes": size,
                    "seen_seconds": first,
                    "answer_seconds": answer,
                }
            )
            shown = "no Chromium" if first is None else f"{first:9.2f}{answer:11.2f}"
            print(f"{total:>8}  {rows[-1]['names']:<7}{seconds:8.2f}{size:7.2f}{shown}", flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
