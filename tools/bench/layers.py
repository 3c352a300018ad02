"""The layer calls beside the plain graph, and contrib ``rev_block`` on TensorFlow 1.15.5.

Usage: python -m tools.bench.layers [--blocks 16,64] [--processes 3] [--no-grappler] [--inter-op N]

Two nets of memory-peers.md section 3: two streams (``gr.layers.rev_block``) and one stream whose
blocks are marked four by four (``recompute_scope`` before and after differentiation,
``gr.layers.recompute_grad``). Every arm is differentiated after its forward graph was built; peaks,
calls and times are measured as in :mod:`tools.bench.memory`. Last, the time ``tf.gradients`` takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TWO_STREAMS = ("plain", "gr.layers.rev_block")
ONE_STREAM = ("plain stream", "marked before", "marked after", "gr.layers.recompute_grad")
EVERY = 4


def build(arm: str, blocks: int) -> list[str]:
    """Fills the default graph with an arm's training step; returns the gradients' names."""
    import graphrev as gr
    from tools.bench import child

    if arm in TWO_STREAMS:
        child.TRUNKS["gr.layers.rev_block"] = lambda net, x1, x2, count: gr.layers.rev_block(
            x1, x2, net.branch, net.branch, count
        )
        return child.build(arm, blocks)
    child.TRUNKS[arm] = lambda net, x1, x2, count: _one_stream(arm, net, x1, x2, count)
    names = child.build(arm, blocks)
    if arm == "marked after":
        gr.rewrite(child.tf.get_default_graph(), "recompute")
    return names


def _one_stream(arm: str, net: Any, x1: Any, x2: Any, blocks: int) -> tuple[Any, Any]:
    """Blocks ``x + F(F(x))`` of 32 channels on the first half of the stem's; twice the result."""
    import graphrev as gr
    from tools.bench import child

    del x2
    x = x1
    for start in range(0, blocks, EVERY):

        def segment(x: Any, start: int = start) -> Any:
            for block in range(start, start + EVERY):
                with child.tf.variable_scope(f"block{block}"):
                    x = x + net.named(net.named(x, "f"), "g")
            return x

        if arm == "gr.layers.recompute_grad":
            x = gr.layers.recompute_grad(segment)(x)
        else:
            with gr.recompute_scope() if arm.startswith("marked") else nullcontext():
                x = segment(x)
    if arm == "marked before":
        gr.rewrite(child.tf.get_default_graph(), "recompute")
    return x, x


def _write(job: dict[str, Any]) -> None:
    """Child: builds an arm's graph and writes it; prints the gradients' names."""
    from tools.bench.child import tf

    tf.disable_eager_execution()
    with tf.Graph().as_default() as graph:
        names = build(job["arm"], job["blocks"])
        Path(job["path"]).write_bytes(graph.as_graph_def().SerializeToString())
    print(json.dumps(names))


def _time(blocks: int) -> None:
    """Child: processor seconds that ``tf.gradients`` takes, plain and through rev_block."""
    import graphrev as gr
    from tools.bench.child import Net, plain_trunk, tf

    tf.disable_eager_execution()

    def seconds(trunk: Any, count: int) -> float:
        with tf.Graph().as_default():
            net = Net()
            x = tf.placeholder(tf.float32, [64, 32, 32, 64])
            y1, y2 = trunk(net, *tf.split(x, 2, axis=3), count)
            loss = tf.reduce_mean(y1 * y2)
            start = time.process_time()
            tf.gradients(loss, tf.trainable_variables())
            return time.process_time() - start

    def ours(net: Any, x1: Any, x2: Any, count: int) -> Any:
        return gr.layers.rev_block(x1, x2, net.branch, net.branch, count)

    for trunk in (plain_trunk, ours):
        seconds(trunk, 2)
    rounds = [(seconds(plain_trunk, blocks), seconds(ours, blocks)) for _ in range(5)]
    print(json.dumps([min(times) for times in zip(*rounds)]))


def _own_child(*arguments: str) -> Any:
    command = [sys.executable, "-W", "ignore", "-m", "tools.bench.layers", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def _measured(
    arm: str, blocks: int, folder: Path, known: dict[str, Any], options: dict[str, Any]
) -> None:
    """Prints an arm's line; the first arm of ``known`` is what the others are compared with."""
    from tools.bench.memory import gradient_error, run_child

    path = folder / f"{blocks}-{arm.replace(' ', '_')}.pb"
    job = {"arm": arm, "blocks": blocks, "path": str(path)}
    names = _own_child("--child", json.dumps(job))
    gradients = path.with_suffix(".npz")
    job = {"path": str(path), "names": names, "gradients": str(gradients), **options["job"]}
    if known:
        job["beside"] = str(known["path"])
    results = [run_child(sys.executable, job) for _ in range(options["processes"])]
    calls = sum(results[0]["convolutions"].values())
    first = known or {"path": path, "calls": calls, "gradients": gradients}
    known.update(first)
    peaks = [result["peak"] / 1e6 for result in results]
    ratio = statistics.median(result["time_ratio"] for result in results)
    print(
        f"{blocks:>6}  {arm:<26}{min(peaks):>8.1f}-{max(peaks):<8.1f}{calls:>5} "
        f"({calls / first['calls'] - 1:+.1%}){ratio:>7.2f}  "
        f"{gradient_error(first['gradients'], gradients):.1e}",
        flush=True,
    )


def _contrib(blocks: int, folder: Path, options: dict[str, Any]) -> None:
    """Prints the line of contrib ``rev_block``, or why it was not measured."""
    from tools.bench.memory import run_child
    from tools.oracle import find_oracle

    oracle, why = find_oracle()
    head = f"{blocks:>6}  {'contrib rev_block, 1.15.5':<26}"
    if oracle is None:
        print(f"{head} not measured: {why}")
        return
    path = folder / f"{blocks}-contrib.pb"
    job = {"build": "rev_block", "blocks": blocks, "path": str(path)}
    names = run_child(str(oracle), job)["names"]
    job = {"path": str(path), "names": names, **options["job"]}
    results = [run_child(str(oracle), job) for _ in range(options["processes"])]
    peaks = [result["peak"] / 1e6 for result in results]
    calls = sum(results[0]["convolutions"].values())
    print(f"{head}{min(peaks):>8.1f}-{max(peaks):<8.1f}{calls:>5}", flush=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="tools.bench.layers", description=__doc__)
    parser.add_argument("--blocks", default="16,64")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--no-grappler", action="store_true")
    parser.add_argument("--inter-op", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--time", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return _write(json.loads(args.child))
    if args.time:
        return _time(args.time)
    job = {"grappler": not args.no_grappler, "inter_op": args.inter_op}
    options = {"job": job, "processes": args.processes}
    print(f"{'blocks':>6}  {'arm':<26}{'peak MB':>15}{'convs':>7}{'time':>16}  gradient error")
    with tempfile.TemporaryDirectory() as name:
        for blocks in map(int, args.blocks.split(",")):
            for arms in (TWO_STREAMS, ONE_STREAM):
                known: dict[str, Any] = {}
                for arm in arms:
                    _measured(arm, blocks, Path(name), known, options)
            _contrib(blocks, Path(name), options)
            plain, ours = _own_child("--time", str(blocks))
            print(
                f"{blocks:>6}  tf.gradients: {plain:.2f} s plain, {ours:.2f} s ({ours / plain:.2f})"
            )


if __name__ == "__main__":
    main()
