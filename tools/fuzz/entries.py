"""What is fuzzed: an entry makes inputs from seeds and runs them."""

from __future__ import annotations

import gzip
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from graphrev import api
from graphrev.errors import UsageError
from graphrev.io.files import decode, encode
from graphrev.io.protos import light
from graphrev.ir.notation import from_text, to_text
from graphrev.passes import REGISTRY
from graphrev.pipeline.spec import parse_pass
from tools.fuzz.make_seeds import FIXTURES, SEEDS
from tools.fuzz.mutations import mutate_bytes, mutate_graph, mutate_text

LARGE = ("sums", "cond_block", "while_block", "dropout", "split1", "partitioned", "near_misses")
"""Whole training graphs of the fixtures: one input in fifty is made from them."""
_LARGE_SHARE = 0.02
PASSES = (
    "reversible{detect=structural}",
    "reversible{random=stateless,anchor_every=2,detect=structural}",
    "reversible",
    "recompute",
    "recompute{frames=^rnn/}",
    "mask{sparsity=0.5,first=masked,last=masked}",
    "mask{granularity=channel,sparsity=0.5}",
    "mask{criterion=taylor,sparsity=0.5,regrowth=rigl,end=9}",
    "clean-scopes",
    "strip-masks",
    "shrink",
)
SPECS = (
    b"reversible{detect=structural,anchor_every=3,max_drift=0.1}",
    b"mask{sparsity=0.9,schedule=polynomial,begin=0,end=10000,include='a.*'}",
    b"mask{schedule=table,table=0:0.1;100:0.5,structure=blocks(2x4)}",
    b"recompute{random=save,frames=^(a|b)/}",
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
        Entry("saved-model", _saved_model, _saved),
        Entry("notation", _notation, lambda data, rng: _read_notation(data)),
        Entry("options", _options, lambda data, rng: _parse(data)),
        Entry("diff", _structure, _diff),
        Entry("checkpoint", _checkpoint, _read_checkpoint),
    )


@cache
def meta(name: str) -> bytes:
    """A fixture's or a seed's MetaGraphDef."""
    if name in LARGE:
        return gzip.decompress((FIXTURES / f"{name}.meta.gz").read_bytes())
    message = light("meta_graph_pb2").MetaGraphDef.FromString(meta("split1"))
    message.graph_def.CopyFrom(light("graph_pb2").GraphDef.FromString(graph(name)))
    return message.SerializeToString()


@cache
def graph(name: str) -> bytes:
    """A fixture's or a seed's GraphDef."""
    if name not in LARGE:
        return (SEEDS / f"{name}.pb").read_bytes()
    return light("meta_graph_pb2").MetaGraphDef.FromString(meta(name)).graph_def.SerializeToString()


@cache
def _seeds() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in SEEDS.glob("*.pb")))


def _any(rng: random.Random) -> str:
    """The name of a graph to start from."""
    return rng.choice(LARGE if rng.random() < _LARGE_SHARE else _seeds())


@cache
def _texts(name: str) -> tuple[bytes, bytes]:
    """A graph as protobuf text and in the notation."""
    model = decode(graph(name), ".pb", name)
    return encode(model, Path("x.pbtxt")), to_text(model.graph).encode()


def _graph_bytes(rng: random.Random) -> bytes:
    return mutate_bytes(graph(_any(rng)), rng)


def _meta_bytes(rng: random.Random) -> bytes:
    return mutate_bytes(meta(_any(rng)), rng)


def _graph_text(rng: random.Random) -> bytes:
    return mutate_text(_texts(rng.choice(_seeds()))[0], rng)


def _notation(rng: random.Random) -> bytes:
    return mutate_text(_texts(rng.choice(_seeds()))[1], rng)


def _structure(rng: random.Random) -> bytes:
    message = light("graph_pb2").GraphDef.FromString(graph(_any(rng)))
    mutate_graph(message, rng)
    return message.SerializeToString()


def _meta_structure(rng: random.Random) -> bytes:
    message = light("meta_graph_pb2").MetaGraphDef.FromString(meta(_any(rng)))
    mutate_graph(message.graph_def, rng)
    return message.SerializeToString()


def _saved_model(rng: random.Random) -> bytes:
    """A saved_model.pb: bytes edited, or the graph in it, or another graph in its frame."""
    if rng.random() < 0.3:
        return mutate_bytes(_saved_bytes(), rng)
    inner = _meta_structure(rng)
    size, varint = len(inner), b""
    while size > 127:
        varint, size = varint + bytes([size & 127 | 128]), size >> 7
    return b"\x08\x01\x12" + varint + bytes([size]) + inner


@cache
def _saved_bytes() -> bytes:
    return (FIXTURES / "saved_model" / "saved_model.pb").read_bytes()


def _options(rng: random.Random) -> bytes:
    return (mutate_text if rng.random() < 0.5 else mutate_bytes)(rng.choice(SPECS), rng)


def _checkpoint(rng: random.Random) -> bytes:
    import_module("tensorflow")  # Here, where it does not count as the input's time.
    index = FIXTURES / "saved_model" / "variables" / "variables.index"
    return mutate_bytes(index.read_bytes(), rng)


def _through(data: bytes, kind: str, rng: random.Random) -> None:
    """Load, rewrite by one or two passes, encode, load again."""
    model = decode(data, kind, f"fuzzed{kind}")
    result = api.rewrite(model, rng.sample(PASSES, rng.choice((1, 1, 2))))
    result.report.to_text()
    written = encode(result.model, Path(f"fuzzed{kind}"))
    decode(written, kind, f"rewritten{kind}")


def _saved(data: bytes, rng: random.Random) -> None:
    """A SavedModel folder in, a rewritten one out; nothing else may lie beside it."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        source, target = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        (source / "saved_model.pb").write_bytes(data)
        try:
            result = api.rewrite(source, rng.choice(PASSES))
            result.save(target)
            api.load(target)
        finally:
            litter = {path.name for path in Path(folder).iterdir()} - {"in", "out"}
            assert not litter, f"left behind: {litter}"


def _memory() -> str | None:
    """A folder in memory, where there is one: half a million files need not reach a disk."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() else None


def _read_notation(data: bytes) -> None:
    read = from_text(data.decode("utf-8", "replace"))
    if to_text(from_text(to_text(read))) != to_text(read):
        raise AssertionError("the notation of a graph reads as another graph")


def _parse(data: bytes) -> None:
    pass_: Any = parse_pass(data.decode("utf-8", "replace"), REGISTRY)
    if not pass_.name:
        raise UsageError("a pass without a name")


def _diff(data: bytes, rng: random.Random) -> None:
    before = decode(graph(_any(rng)), ".pb", "before.pb")
    found = api.diff(before, decode(data, ".pb", "after.pb"))
    found.to_text()
    found.to_json()
    if rng.random() < _LARGE_SHARE:
        found.to_html()


def _read_checkpoint(data: bytes, rng: random.Random) -> None:
    """A checkpoint whose index was edited, read as ``graphrev checkpoint`` reads it."""
    from graphrev.io.checkpoints import read_checkpoint

    whole = FIXTURES / "saved_model" / "variables" / "variables.data-00000-of-00001"
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        Path(folder, "c.index").write_bytes(data)
        Path(folder, "c.data-00000-of-00001").symlink_to(whole)
        read_checkpoint(Path(folder, "c"))
