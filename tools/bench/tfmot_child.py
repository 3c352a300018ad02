"""Trains the digits net with tfmot for ``tools.bench.prune``; same jobs as ``digits_child.py``."""

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

BATCH, EPOCHS, RATE, LATE_RATE, LATE = 64, 20, 1e-3, 1e-4, 0.6
NORM = ("gamma", "beta", "mean", "var")


def network():
    """The net of ``digits_child.py`` in Keras."""
    layers = []
    for number, width in enumerate((32, 64, 64)):
        shape = {"input_shape": (8, 8, 1)} if number == 0 else {}
        layers.append(keras.layers.Conv2D(width, 3, padding="same", use_bias=False, **shape))
        layers.append(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5))
        layers.append(keras.layers.ReLU())
        if number == 1:
            layers.append(keras.layers.MaxPool2D(2))
    layers += [keras.layers.Flatten(), keras.layers.Dense(128, activation="relu")]
    return keras.Sequential([*layers, keras.layers.Dense(10)])


def load(model, prefix):
    """The dense checkpoint's weights."""
    read = tf.train.load_checkpoint(prefix).get_tensor
    kinds = {kind: [x for x in model.layers if isinstance(x, kind)] for kind in (
        keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.Dense)}  # fmt: skip
    convolutions, norms, dense = kinds.values()
    for number in range(3):
        convolutions[number].set_weights([read(f"conv{number}/kernel")])
        norms[number].set_weights([read(f"norm{number}/{name}") for name in NORM])
    for number in range(2):
        dense[number].set_weights([read(f"dense{number}/kernel"), read(f"bias{number}")])


def prune(job):
    """20 epochs of pruning, its defaults but for the schedule that all arms share."""
    data, draw = np.load(job["data"]), np.random.RandomState(job["seed"])
    tf.keras.utils.set_random_seed(job["seed"])
    x, y = data["x_train"], data["y_train"]
    total = EPOCHS * (len(x) // BATCH)
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        0.0, job["sparsity"], 0, int(LATE * total), power=3, frequency=10
    )
    plain = network()
    load(plain, job["restore"])
    model = tfmot.sparsity.keras.prune_low_magnitude(plain, schedule)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss)
    steps = tfmot.sparsity.keras.UpdatePruningStep()
    steps.set_model(model)
    steps.on_train_begin()
    began, step = time.process_time(), 0
    for epoch in range(EPOCHS):
        order = draw.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            model.optimizer.learning_rate = LATE_RATE if step >= LATE * total else RATE
            steps.on_train_batch_begin(batch=step)
            batch = order[start : start + BATCH]
            model.train_on_batch(x[batch], y[batch])
            step += 1
        steps.on_epoch_end(epoch)
    seconds = time.process_time() - began
    small = tfmot.sparsity.keras.strip_pruning(model)
    answers = small(data["x_test"], training=False).numpy().argmax(1)
    kernels = [w for w in small.get_weights() if w.ndim > 1]
    return {
        "seconds": seconds,
        "test": 100.0 * float(np.mean(answers == data["y_test"])),
        "kept": {str(place): int(np.count_nonzero(w)) for place, w in enumerate(kernels)},
    }


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for listed in json.loads(Path(sys.argv[1]).read_text()):
        print(json.dumps(dict(listed, **prune(listed))), flush=True)
        keras.backend.clear_session()
