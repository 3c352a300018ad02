"""Runs every row on one bench and prints the answers as JSON on the last line.

``python run_rows.py contrib|core|tf_keras graph|eager``: contrib is the oracle, the others are
graphrev over ``tensorflow.python.layers`` and over tf_keras's legacy layers.
"""

from __future__ import annotations

import json
import sys
import types

import bench
import rows_checkpoints
import rows_naming
import rows_network


def main(kind, mode):
    eager = mode == "eager"
    if kind == "contrib":
        import tensorflow as tf
        from tensorflow.contrib import eager as tfe

        layers, keras_dense = tf.layers, tf.keras.layers.Dense
        if eager:
            tf.enable_eager_execution()
    else:
        import tensorflow.compat.v1 as tf

        if not eager:
            tf.disable_v2_behavior()
        from graphrev.layers import network as tfe

        if kind == "core":
            from tensorflow.python.keras import layers as core_keras
            from tensorflow.python.layers import layers as core_layers

            keras_dense = core_keras.Dense
            layers = types.SimpleNamespace(
                Dense=core_layers.Dense,
                Dropout=core_layers.Dropout,
                BatchNormalization=batch_normalization(),
            )
        else:
            layers, keras_dense = tf.layers, tf.keras.layers.Dense
    tf.logging.set_verbosity(tf.logging.ERROR)
    made = bench.Bench(tf, tfe, layers, keras_dense, eager)
    rows = {**rows_naming.ROWS, **rows_network.ROWS, **rows_checkpoints.ROWS}
    print(json.dumps({name: made.run(row) for name, row in rows.items()}))


def batch_normalization():
    """TensorFlow has none of its own; a program takes it from tf_keras and mixes the two kinds."""
    from tf_keras.src.legacy_tf_layers import normalization

    return normalization.BatchNormalization


if __name__ == "__main__":
    main(*sys.argv[1:])
