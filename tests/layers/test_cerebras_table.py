"""What seed-systems.md says of Cerebras's ``AbstractRecomputeWrapper``, row by row.

The left side is a statement of its section 4; where the section calls something a bug or a limit,
the row pins what graphrev does instead. Each row is computed, and compared with what it must give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow

from graphrev.layers import recompute_wrapper
from tests.layers import cerebras_statements as statements
from tests.layers import test_recompute_wrapper as programs
from tests.layers.test_recompute_wrapper import Base, Recompute, dense, x_of

tf: Any = tensorflow.compat.v1

ROWS: list[tuple[str, Callable[[], Any], Any]] = [
    ("4.1 not a Layer", lambda: "Layer" in {k.__name__ for k in Base.__mro__}, False),
    (
        "4.1 RECOMPUTED_TENSOR_ATTR_NAME",
        lambda: recompute_wrapper.RECOMPUTED_TENSOR_ATTR_NAME,
        "_recomputed_tensor",
    ),
    ("4.1 class attribute CtrlFlowWarnedOnce", lambda: Base.CtrlFlowWarnedOnce, False),
    (
        "4.1 abstract: call, _gradient",
        lambda: sorted(Base.__abstractmethods__),
        ["_gradient", "call"],
    ),
    (
        "4.1 call(self, *args, **kwargs)",
        lambda: statements.parameters("call"),
        ["self", "args", "kwargs"],
    ),
    (
        "4.1 _gradient(grad_ys, rev_ys, **grad_kwargs)",
        lambda: statements.parameters("_gradient"),
        ["self", "grad_ys", "rev_ys", "grad_kwargs"],
    ),
    (
        "4.1 _set_recomputed_tensor(tensor, recomputed)",
        lambda: len(statements.parameters("_set_recomputed_tensor")),
        3,
    ),
    (
        "4.1 _check_get_recomputed_tensor(tensor)",
        lambda: len(statements.parameters("_check_get_recomputed_tensor")),
        2,
    ),
    (
        "4.1 _block_recompute_and_gradients(block, inputs, grad_outputs, variables, **kwargs)",
        lambda: statements.parameters("_block_recompute_and_gradients"),
        ["self", "block", "inputs", "grad_outputs", "variables", "kwargs"],
    ),
    (
        "4.1 _get_clean_grad_scope(graph)",
        lambda: statements.parameters("_get_clean_grad_scope"),
        ["self", "graph"],
    ),
    (
        "4.1 _update_variables_for_context and its _v1, _v2",
        lambda: {
            len(statements.parameters(f"_update_variables_for_context{v}"))
            for v in ("", "_v1", "_v2")
        },
        {3},
    ),
    (
        "4.1 static is_in_while_loop(graph=None)",
        lambda: statements.parameters("is_in_while_loop"),
        ["graph"],
    ),
    (
        "4.2 dicts and nested tuples are flattened",
        statements.leaves_of_nested_arguments,
        (2, [False, False]),
    ),
    (
        "4.2 _args_for_shape, _outputs_for_shape (tuple-ised)",
        statements.noted_attributes,
        (1, tuple),
    ),
    ("4.2 a gradient function without variables", lambda: "variables" in statements.seen(), False),
    (
        "4.2 a gradient function with variables",
        lambda: [v.op.name for v in statements.seen(dense("k"))["variables"]],
        ["k"],
    ),
    ("4.2 keywords go to call", statements.gradient_of_a_number_in_keywords, True),
    (
        "4.2 rev_ys = the outputs",
        lambda: [t.op.type for t in statements.seen()["rev_ys"]],
        ["Tanh"],
    ),
    ("4.2 rev_ys = what the layer above attached", statements.rebuilt_by_the_layer_above, True),
    ("4.2 three results", lambda: statements.results(3)() and None, None),
    (
        "4.2 two results without variables",
        lambda: statements.results(2)() and None,
        None,
    ),
    ("4.2 another count: ValueError", lambda: statements.raised(statements.results(1)), ValueError),
    ("4.2 another count: ValueError", lambda: statements.raised(statements.results(4)), ValueError),
    (
        "4.2 _set_recomputed_tensor walks up identities",
        programs.test_helpers_mark_what_a_tensor_is_a_copy_of,
        None,
    ),
    (
        "4.2 no tensor: AssertionError",
        lambda: statements.raised(lambda: Recompute(tf.tanh)._set_recomputed_tensor(1.0, x_of())),
        AssertionError,
    ),
    (
        "4.2 the block again: inputs that wait, gradients of inputs, variables, sides",
        statements.one_block_again,
        ([4, 8], [1, 1, 1], [True, True]),
    ),
    (
        "4.2 loops and branches are recognised",
        statements.recognised,
        (False, {"test": True, "body": True, "branch": True}),
    ),
    ("4.2 one layer is exact", statements.exact(programs.one_block), None),
    ("4.2 a chain of three pairs", statements.exact(programs.a_chain_of_pairs), None),
    ("4.2 tf.function with tf.gradients, with variables", statements.in_a_function, True),
    ("4.2 layers without variables", statements.exact(programs.without_variables), None),
    ("4.2 names 'gg/outer/mul'", statements.cleaned_name, True),
    ("4.3.1 side inputs by keyword get gradients", statements.exact(programs.a_side_input), None),
    ("4.3.2 one instance called twice", statements.exact(programs.one_instance_called_twice), None),
    ("4.3.3 eager: an error that says what to do", statements.eager, RuntimeError),
    ("4.3.3 tf.function with a tape", statements.on_a_tape, True),
    (
        "4.3.4 while_loop v2",
        lambda: programs.test_equals_plain_backpropagation_in_functional_control_flow(
            programs.in_a_loop
        ),
        None,
    ),
    (
        "4.3.5 variables 'k' and 'k_b'",
        statements.exact(programs.variables_whose_names_contain_one_another),
        None,
    ),
    ("4.3.6 while_loop v1", statements.exact(programs.in_a_loop), None),
    ("4.3.6 cond v1", statements.exact(programs.in_a_branch), None),
    (
        "4.3.6 cond v2",
        lambda: programs.test_equals_plain_backpropagation_in_functional_control_flow(
            programs.in_a_branch
        ),
        None,
    ),
    ("4.3.7 no literal braces in messages", statements.message_of_a_wrong_count, False),
    ("4.3.8 every variable is found, nothing warns", statements.flag_after_a_loop, False),
    ("4.3.8 the list of variables stays as it is", statements.list_of_variables_after_use, True),
    ("4.3.9 several inputs of one block", statements.several_inputs_of_one_block, [False, False]),
    (
        "4.3.10 an unused output: zeros or None, and exact",
        statements.gradient_of_an_unused_output,
        [False, False],
    ),
    ("4.3.11 abstract instantiation: TypeError", lambda: statements.raised(Base), TypeError),
]


@pytest.mark.parametrize(("statement", "find", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_statement_holds(statement: str, find: Callable[[], Any], expected: Any) -> None:
    del statement
    with tf.Graph().as_default():
        assert find() == expected
