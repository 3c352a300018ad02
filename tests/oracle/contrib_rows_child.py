"""The tables of ``tests/pruning``, answered by ``tf.contrib.model_pruning`` of TensorFlow 1.15.5.

Run by Python 3.7. ``graphrev.pruning`` is contrib here. Prints one JSON object: what came of each
row, ``same``, ``other text`` (of an error of the right type) or ``other``.
"""

import importlib
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import tensorflow
from tensorflow.contrib import model_pruning
from tensorflow.contrib.model_pruning.python import learning, pruning_utils
from tensorflow.contrib.model_pruning.python.layers import core_layers, rnn_cells

tf = tensorflow.compat.v1
TABLES = ("rows_layers", "rows_classes", "rows_parameters", "rows_updates", "rows_blocks")


def pretend():
    """Puts contrib where the tables import graphrev from."""
    rnn_cells._cells = lambda: tf.nn.rnn_cell
    parts = {
        "core_layers": core_layers,
        "learning": learning,
        "pruning_utils": pruning_utils,
        "rnn_cells": rnn_cells,
    }
    pruning = types.ModuleType("graphrev.pruning")
    for name in dir(model_pruning):
        setattr(pruning, name, getattr(model_pruning, name))
    graphrev = types.ModuleType("graphrev")
    graphrev.pruning = pruning
    sys.modules["graphrev"], sys.modules["graphrev.pruning"] = graphrev, pruning
    for name, part in parts.items():
        setattr(pruning, name, part)
        sys.modules["graphrev.pruning." + name] = part


def outcome(run, want, raises):
    try:
        got = run()
    except Exception as error:
        if not isinstance(want, raises) or not isinstance(error, want.kind):
            return "other"
        return "same" if re.search(want.phrase, str(error)) else "other text"
    try:
        np.testing.assert_equal(got, want)
    except AssertionError:
        return "other"
    return "same"


def main():
    tf.logging.set_verbosity(tf.logging.FATAL)
    pretend()
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raises = importlib.import_module("tests.pruning.rows").Raises
    found = {}
    for table in TABLES:
        for name, run, want in importlib.import_module("tests.pruning." + table).ROWS:
            with tf.Graph().as_default():
                found[table + ": " + name] = outcome(run, want, raises)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
