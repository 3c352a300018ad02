"""Rewrites a program by every pass and some pairs of passes, and runs it before and after."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import tensorflow

from graphrev import api
from graphrev.errors import GraphrevError, UsageError, VerificationError
from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.verification import verify
from graphrev.verification.recording import Recording

tf: Any = tensorflow.compat.v1
PASSES = (
    "reversible{detect=structural}",
    "reversible",
    "reversible{detect=structural,random=stateless,anchor_every=2}",
    "recompute",
    "mask{sparsity=0.5,begin=1000,first=masked,last=masked}",
    "clean-scopes",
    "strip-masks",
)
"""The masks are not updated within the step that is compared: until then they are all ones."""
PAIRS = tuple(itertools.permutations(PASSES, 2))


@dataclass
class Result:
    """What became of a program.

    Attributes:
        rewritten: whether any pass changed it.
        compared: how many rewritten graphs were run beside the program.
        rejected: passes that refused it with a reason.
        faults: the passes and what was wrong.
    """

    rewritten: bool = False
    compared: int = 0
    rejected: int = 0
    faults: list[tuple[tuple[str, ...], str]] = field(
        default_factory=list[tuple[tuple[str, ...], str]]
    )


def check(graph: Graph, seed: int, pairs: int, optimized: int = 1) -> Result:
    """Tries every pass alone, and ``pairs`` pairs of passes drawn by ``seed``.

    Every ``optimized``-th program is run as Grappler rewrites it, the others as they are.
    """
    drawn = random.Random(f"pairs/{seed}").sample(PAIRS, min(pairs, len(PAIRS)))
    result, seen = Result(), set[frozenset[str]]()
    recording = Recording(graph, grappler=seed % optimized == 0)
    for passes in (*((p,) for p in PASSES), *drawn):
        try:
            outcome = api.rewrite(graph, passes)
        except UsageError:
            result.rejected += 1
            continue
        except GraphrevError as error:
            result.faults.append((passes, f"{type(error).__name__}: {error}"))
            continue
        if not outcome.changed:
            result.rejected += 1
            continue
        result.rewritten = True
        added = frozenset(outcome.model.graph.nodes) ^ frozenset(graph.nodes)
        if added in seen:
            continue  # The other pass of the pair changed nothing.
        seen.add(added)
        result.compared += 1
        fault = compare(recording, outcome.model.graph)
        if fault:
            result.faults.append((passes, fault))
    return result


def compare(before: Recording, after: Graph) -> str:
    """What differs between two runs; empty for nothing."""
    refused = imported(after)
    if refused:
        return f"TensorFlow refuses the graph: {refused}"
    try:
        found = verify(before.graph, after, recording=before, grappler=before.grappler)
    except VerificationError as error:
        return f"cannot be run: {error}"
    return "" if found.ok else found.to_text()


def imported(graph: Graph) -> str:
    """What TensorFlow says against the graph as it would be written, recorded shapes and all."""
    with tf.Graph().as_default():
        try:
            tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        except (ValueError, tf.errors.OpError) as error:
            return str(error)
    return ""


def fails(graph: Graph, passes: tuple[str, ...]) -> bool:
    """Whether a rewrite of ``graph`` computes something else, for shrinking a failure."""
    try:
        outcome = api.rewrite(graph, passes)
        return outcome.changed and not api.verify(graph, outcome.model.graph).ok
    except GraphrevError:
        return False
