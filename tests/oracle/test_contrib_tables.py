"""The tables of ``tests/pruning`` say what contrib 1.15.5 does, but for the faults listed here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tools.oracle import environment, find_oracle

CHILD = Path(__file__).with_name("contrib_rows_child.py")
REFUSED_THERE = ("N = 1", "N = 3", "N = 1, strides", "NWC", "NDHWC", "NCW", "NCDHW")
"""Convolutions over one and three axes, which its page promises."""
FAULTS = {
    "rows_layers": {
        *REFUSED_THERE,
        "cell: all variables",  # num_proj
        "cell: num_proj",
        "cell: in dynamic_rnn",  # the masked weight is inside of the loop
        "cell: as TensorFlow's own",  # MaskedLSTMCell has no name
    },
    "rows_classes": {"class conv: reuse masks once", "class full: reuse masks once"},
    "rows_parameters": {
        "no tensor",
        "a target below 0",
        "no regular expression",
        "colon in parse",
        "colon in a list",
        "brackets in parse",
        "frequency 0",
        "unknown prune_option",  # of the fork
        "an older specification",
    },
    "rows_updates": {
        "... with target_sparsity=0",
        "ties: exact",
        "ties: blocks",
        "NaN is dropped, the count holds",
        "k = 0",
        "float16",
        "float64",
        "bfloat16",
        "int32",
        "... and not over a window shifted against the mask",
        "both ops",
        "both ops, other order",
        "a layer built twice is masked once",
        "partitioned: two axes",  # asks a function of our own
        "print_hparams logs JSON",  # in a log of our own
    },
    "rows_blocks": set[str](),
}


@pytest.mark.oracle
def test_contrib_answers_the_tables_but_for_its_faults() -> None:
    oracle, reason = find_oracle(install=False)
    if oracle is None:
        pytest.skip(reason)
    command = [str(oracle), "-W", "ignore", str(CHILD)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    others = {row for row, outcome in found.items() if outcome == "other"}
    faults = {f"{table}: {name}" for table, names in FAULTS.items() for name in names}
    assert {row for row in others if ": fork: " not in row} == faults
    assert sum(outcome == "same" for outcome in found.values()) > 150
