"""What is fuzzed: an entry makes inputs from seeds and runs them."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from graphrev import api
from graphrev.errors import UsageError
from graphrev.io.files import decode, encode
from graphrev.io.protos import light
from graphrev.ir.notation import from_text, to_text
from graphrev.passes import REGISTRY
from graphrev.pipeline.spec import parse_pass
from tools.fuzz.mutations import mutate_bytes, mutate_graph, mutate_text

FIXTURES = Path(__file__).resolve().parents[2] / "tests" / "fixtures"
GRAPHS = ("sums", "cond_block", "while_block", "dropout", "split1", "partitioned", "near_misses")
PASSES = (
    "reversible{detect=structural}",
    "reversible{random=stateless,anchor_every=2}",
    "recompute",
    "mask{sparsity=0.5}",
    "clean-scopes",
    "strip-masks",
)
SPECS = (
    b"reversible{detect=structural,anchor_every=3,max_drift=0.1}",
    b"mask{sparsity=0.9,schedule=polynomial,begin=0,end=10000,include='a.*'}",
    b"recompute{random=save}",
)


@dataclass(frozen=True)
class Entry:
    """A way into graphrev: makes an input, runs it; only a GraphrevError may come out."""

    name: str
    make: Callable[[random.Random], bytes]
    run: Callable[[bytes, random.Random], None]


def entries() -> Sequence[Entry]:
    """Every entry point."""
    return (
        Entry("graph-bytes", _graph_bytes, lambda data, rng: _through(data, ".pb", rng)),
        Entry("meta-bytes", _meta_bytes, lambda data, rng: _through(data, ".meta", rng)),
        Entry("text", _graph_text, lambda data, rng: _through(data, ".pbtxt", rng)),
        Entry("graph-structure", _structure, lambda data, rng: _through(data, ".pb", rng)),
        Entry("meta-structure", _meta_structure, lambda data, rng: _through(data, ".meta", rng)),
        Entry("notation", _notation, lambda data, rng: _read_notation(data)),
        Entry("options", _options, lambda data, rng: _parse(data)),
        Entry("diff", _structure, _diff),
    )


@cache
def meta(name: str) -> bytes:
    """A fixture's MetaGraphDef."""
    return gzip.decompress((FIXTURES / f"{name}.meta.gz").read_bytes())


@cache
def graph(name: str) -> bytes:
    """A fixture's GraphDef."""
    return light("meta_graph_pb2").MetaGraphDef.FromString(meta(name)).graph_def.SerializeToString()


@cache
def _texts(name: str) -> tuple[bytes, bytes]:
    """A fixture as protobuf text and in the notation."""
    model = decode(graph(name), ".pb", name)
    return encode(model, Path("x.pbtxt")), to_text(model.graph).encode()


def _graph_bytes(rng: random.Random) -> bytes:
    return mutate_bytes(graph(rng.choice(GRAPHS)), rng)


def _meta_bytes(rng: random.Random) -> bytes:
    return mutate_bytes(meta(rng.choice(GRAPHS)), rng)


def _graph_text(rng: random.Random) -> bytes:
    return mutate_text(_texts(rng.choice(GRAPHS[:2]))[0], rng)


def _notation(rng: random.Random) -> bytes:
    return mutate_text(_texts(rng.choice(GRAPHS[:3]))[1], rng)


def _structure(rng: random.Random) -> bytes:
    message = light("graph_pb2").GraphDef.FromString(graph(rng.choice(GRAPHS)))
    mutate_graph(message, rng)
    return message.SerializeToString()


def _meta_structure(rng: random.Random) -> bytes:
    message = light("meta_graph_pb2").MetaGraphDef.FromString(meta(rng.choice(GRAPHS)))
    mutate_graph(message.graph_def, rng)
    return message.SerializeToString()


def _options(rng: random.Random) -> bytes:
    return (mutate_text if rng.random() < 0.5 else mutate_bytes)(rng.choice(SPECS), rng)


def _through(data: bytes, kind: str, rng: random.Random) -> None:
    """Load, rewrite by one or two passes, encode, load again."""
    model = decode(data, kind, f"fuzzed{kind}")
    result = api.rewrite(model, rng.sample(PASSES, rng.choice((1, 1, 2))))
    result.report.to_text()
    written = encode(result.model, Path(f"fuzzed{kind}"))
    decode(written, kind, f"rewritten{kind}")


def _read_notation(data: bytes) -> None:
    read = from_text(data.decode("utf-8", "replace"))
    if to_text(from_text(to_text(read))) != to_text(read):
        raise AssertionError("the notation of a graph reads as another graph")


def _parse(data: bytes) -> None:
    pass_: Any = parse_pass(data.decode("utf-8", "replace"), REGISTRY)
    if not pass_.name:
        raise UsageError("a pass without a name")


def _diff(data: bytes, rng: random.Random) -> None:
    before = decode(graph(rng.choice(GRAPHS)), ".pb", "before.pb")
    found = api.diff(before, decode(data, ".pb", "after.pb"))
    found.to_text()
    found.to_json()
