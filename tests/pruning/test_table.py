"""What seed-systems.md says of tf.contrib.model_pruning (2.2-2.8), row by row.

Where the sections call something a bug, the row pins what is done instead. Every row runs with
resource variables and the control flow of TensorFlow 2, and with references and that of 1.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow

from graphrev import layers, pruning
from graphrev.errors import GraphrevError
from tests.pruning import rows_blocks, rows_classes, rows_layers, rows_parameters, rows_updates
from tests.pruning.rows import Raises, Row

tf: Any = tensorflow.compat.v1
ROWS = [
    *rows_layers.ROWS,
    *rows_classes.ROWS,
    *rows_parameters.ROWS,
    *rows_updates.ROWS,
    *rows_blocks.ROWS,
]
UPSTREAM = ("already exists", "reuse=True", "is incompatible with the layer", "not understood")
"""What TensorFlow itself says."""


@pytest.fixture(autouse=True, params=["resource", "reference"])
def flow(request: pytest.FixtureRequest) -> Iterator[None]:
    was = (tf.resource_variables_enabled(), tf.control_flow_v2_enabled())
    if request.param == "reference":
        tf.disable_resource_variables()
        tf.disable_control_flow_v2()
    yield
    (tf.enable_resource_variables if was[0] else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if was[1] else tf.disable_control_flow_v2)()


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_row(row: Row) -> None:
    _, run, want = row
    with tf.Graph().as_default():
        if not isinstance(want, Raises):
            np.testing.assert_equal(run(), want)
            return
        with pytest.raises(want.kind, match=want.phrase) as caught:
            run()
    said = str(caught.value)
    assert isinstance(caught.value, GraphrevError) or any(text in said for text in UPSTREAM)


@pytest.mark.parametrize(
    "call",
    [
        lambda: pruning.apply_mask(tensorflow.ones([2])),
        lambda: pruning.masked_convolution(tensorflow.ones([2, 8, 3]), 4, 3),
        lambda: pruning.masked_fully_connected(tensorflow.ones([2, 8]), 4),
        pruning.Pruning,
    ],
)
def test_eager_mode_is_refused(call: Any) -> None:
    with tensorflow.init_scope():
        if not tensorflow.executing_eagerly():
            pytest.skip("this process has left eager mode")
        with pytest.raises(RuntimeError, match="needs a graph") as caught:
            call()
    assert isinstance(caught.value, GraphrevError)


def test_nothing_is_imported_before_a_name_is_used() -> None:
    """TensorFlow takes seconds; a program that only looks at hyper-parameters does not wait."""
    program = (
        "import sys, graphrev.pruning as p; p.get_pruning_hparams().parse('nbins=3');"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", pruning.__all__)
def test_every_name_is_there(name: str) -> None:
    assert callable(getattr(pruning, name))


@pytest.mark.parametrize("name", [n for n in layers.__all__ if n.lower().startswith("masked")])
def test_layers_have_the_masked_ones(name: str) -> None:
    assert getattr(layers, name) is getattr(pruning, name)


@pytest.mark.parametrize("of", ["masked_convolution", "masked_conv2d", "masked_fully_connected"])
def test_arg_scope_sets_arguments(of: str) -> None:
    slim = pytest.importorskip("tf_slim")
    build = pruning.masked_fully_connected if "full" in of else pruning.masked_conv2d
    shape = (2, 8) if "full" in of else (2, 8, 8, 3)
    size = {} if "full" in of else {"kernel_size": 3}
    with tf.Graph().as_default(), slim.arg_scope([getattr(pruning, of)], activation_fn=tf.tanh):
        assert build(tf.ones(shape), 4, **size).op.type == "Tanh"
        assert build(tf.ones(shape), 4, activation_fn=None, **size).op.type == "BiasAdd"
