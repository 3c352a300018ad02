"""What the rows of the table run on: TensorFlow 1.15.5 with contrib, or graphrev on TensorFlow 2.

Run as ``python -m ...`` it is not; ``run_rows.py`` next to it starts it. Everything here and in the
``rows_*.py`` files is Python 3.7, because TensorFlow 1.15.5 is.
"""

from __future__ import annotations

import os
import tempfile


class Bench:
    """One TensorFlow, one kind of layers, graph or eager mode, and a fresh directory per row."""

    def __init__(self, tf, tfe, layers, keras_dense, eager):
        self.tf, self.tfe, self.layers, self.keras_dense = tf, tfe, layers, keras_dense
        self.eager = eager
        self.folder = None
        bench = self

        class Two(tfe.Network):
            """The network of the documentation page."""

            def __init__(self, name=None):
                super(Two, self).__init__(name=name)
                self.one = self.track_layer(bench.layers.Dense(16))
                self.two = self.track_layer(bench.layers.Dense(1))

            def call(self, x):
                return self.two(self.one(x))

        class My(tfe.Network):
            """One dense layer with ones in it, to be told apart by its value."""

            def __init__(self, name=None):
                super(My, self).__init__(name=name)
                self.l1 = self.track_layer(bench.layers.Dense(1, use_bias=False))

            def call(self, x):
                return self.l1(x)

        self.Two, self.My = Two, My

    def x(self, *shape):
        return self.tf.ones(shape or (1, 8))

    def run(self, row):
        """The row's answer, or what it raised, as plain data."""
        with tempfile.TemporaryDirectory() as self.folder:
            try:
                if self.eager:
                    # Counters and scopes live in the default graph in eager mode, too.
                    with self.tf.Graph().as_default(), self.eager_again():
                        return row(self)
                graph = self.tf.Graph()
                with graph.as_default(), self.tf.Session(graph=graph).as_default():
                    return row(self)
            except Exception as error:
                return raised(error)

    def eager_again(self):
        from tensorflow.python.eager import context

        return context.eager_mode()

    def init(self):
        if not self.eager:
            self.tf.get_default_session().run(self.tf.global_variables_initializer())

    def value(self, tensor):
        if hasattr(tensor, "numpy") and self.eager:
            return tensor.numpy().tolist()
        return self.tf.get_default_session().run(tensor).tolist()

    def assign(self, variable, value):
        if self.eager:
            variable.assign(value)
        else:
            variable.load(value, self.tf.get_default_session())

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def keys(self, prefix):
        return sorted(name for name, _ in self.tf.train.list_variables(prefix))


def raised(error):
    """An error as the builtin types it is caught as, and its message."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind is not object]
    return {"raises": kinds, "message": str(error)}


def attempt(action):
    try:
        return action()
    except Exception as error:
        return raised(error)


def names(variables):
    return [variable.name for variable in variables]
