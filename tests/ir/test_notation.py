from __future__ import annotations

import math
import struct
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrev.errors import InvalidInputError
from graphrev.ir import (
    Argument,
    AttrPlaceholder,
    DType,
    Function,
    FunctionRef,
    Graph,
    Node,
    OpaqueAttr,
    Shape,
    TensorRef,
    TensorValue,
    Versions,
)
from graphrev.ir.notation import from_text, node_to_text, to_text

HOSTILE = (
    "a\nb = Evil()",
    "\r\x1b[2J\x07",
    "\u202egnp.exe\u2066",
    'quo"te',
    "back\\slash\\",
    "\u2028\u2029\x85\x7f",
    "\ud83d\ude00",
    "\U0001f600",
    "\udcff",
    "^init",
    "a:1",
    "}",
    "=",
    "-1",
    "",
    "zero\u200bwidth\ufeff",
    "nul\x00",
    "# no comment",
)
WORDS = ("function", "return", "control_return", "graph", "nan", "true", "shape", "1", "a>b/c.d-e")


def held(value: object) -> object:
    """``value`` in a form that is equal only when everything in it is: types, order and bits."""
    if isinstance(value, float):
        return "float", struct.pack(">d", value)
    if isinstance(value, Mapping):
        return "map", [(key, held(item)) for key, item in value.items()]
    if is_dataclass(value):
        parts = [(f.name, held(getattr(value, f.name))) for f in fields(value) if f.name != "raw"]
        raw = getattr(value, "raw", None)
        return type(value), parts, None if isinstance(value, Node | Function) else raw
    if isinstance(value, tuple):
        return type(value), [held(item) for item in value]
    return type(value), value


def round_trip(graph: Graph) -> Graph:
    read = from_text(to_text(graph))
    assert held(read) == held(graph)
    return read


names = (
    st.sampled_from(HOSTILE + WORDS)
    | st.text(st.characters(), max_size=6)
    | st.from_regex(r"[a-z]{1,3}(/[a-z0-9_]{1,3})?", fullmatch=True)
)
some_bytes = st.binary(max_size=8) | st.sampled_from([b'"', b"\\", b"\xff\n", b"loc:@w"])
numbers = st.integers(-(2**63), 2**63 - 1)
dtypes = st.sampled_from([*DType, *map(DType, (100, 101, 107, 133, 77, 177, 999, 201, -1, -99))])
shapes = st.builds(
    Shape, st.none() | st.lists(st.none() | st.integers(-5, 2**40), max_size=4).map(tuple)
)
floats = st.floats() | st.sampled_from(
    [-0.0, math.nan, -math.nan, math.inf, -math.inf, 1e16, 5e-324, 1.0, 1e300]
)
flat = (
    st.booleans()
    | numbers
    | floats
    | some_bytes
    | dtypes
    | shapes
    | st.builds(TensorValue, dtypes, shapes, some_bytes)
    | st.builds(AttrPlaceholder, names)
    | st.builds(OpaqueAttr, some_bytes)
)


def function_refs(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    entries = st.lists(st.tuples(names, values | st.lists(values, max_size=2).map(tuple)))
    return st.builds(FunctionRef, names, entries.map(lambda e: tuple(e[:3])))


scalars = st.recursive(flat, function_refs, max_leaves=4)
attrs = st.dictionaries(names, scalars | st.lists(scalars, max_size=3).map(tuple), max_size=3)
refs = st.builds(TensorRef, names, st.integers(-1, 300), st.just("") | names)
nodes = st.builds(
    Node,
    name=names,
    op=names,
    inputs=st.lists(refs, max_size=3).map(tuple),
    control_inputs=st.lists(names, max_size=2).map(tuple),
    device=st.just("") | names,
    attrs=attrs,
    extra=some_bytes,
    raw=st.none() | some_bytes,
)
bodies = st.lists(nodes, max_size=3, unique_by=lambda n: n.name).map(
    lambda found: {node.name: node for node in found}
)
arguments = st.lists(st.builds(Argument, names, st.none() | dtypes), max_size=2).map(tuple)
functions = st.builds(
    Function,
    name=names,
    inputs=arguments,
    outputs=arguments,
    nodes=bodies,
    returns=st.dictionaries(names, refs, max_size=2),
    control_returns=st.dictionaries(names, names, max_size=2),
    attrs=attrs,
    stateful=st.booleans(),
)
graphs = st.builds(
    Graph,
    nodes=bodies,
    functions=st.lists(functions, max_size=2, unique_by=lambda f: f.name).map(
        lambda found: {function.name: function for function in found}
    ),
    versions=st.builds(Versions, numbers, numbers, st.lists(numbers, max_size=2).map(tuple)),
    extra=some_bytes,
    library_extra=some_bytes,
)


@settings(max_examples=100, deadline=None)
@given(graphs)
def test_any_graph_reads_back_as_it_was(graph: Graph) -> None:
    round_trip(graph)


@settings(max_examples=50, deadline=None)
@given(graphs)
def test_the_text_is_printable_ascii_with_one_line_for_each_thing(graph: Graph) -> None:
    text = to_text(graph)
    lines = 1 + len(graph.nodes)
    for function in graph.functions.values():
        lines += 2 + len(function.nodes) + len(function.returns) + len(function.control_returns)
    assert text.count("\n") == len(text.splitlines()) == lines
    assert all(" " <= char <= "~" for char in text.replace("\n", ""))


@settings(max_examples=100, deadline=None)
@given(graphs, st.data())
def test_damaged_text_is_refused_with_a_place_or_read_as_a_graph(
    graph: Graph, data: st.DataObject
) -> None:
    text = to_text(graph)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 4)))
    damage = data.draw(st.text(st.characters() | st.sampled_from('"\\(){}[]=,:^@!$?*'), max_size=3))
    try:
        from_text(text[:start] + damage + text[stop:])
    except InvalidInputError as error:
        assert "line " in str(error) and "column " in str(error) and "expected " in str(error)
        assert str(error).isprintable()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_on_one_inert_line_wherever_it_stands(name: str) -> None:
    spelled = name.encode("utf-8", "surrogatepass")
    node = Node(
        name,
        name,
        (TensorRef(name, 1), TensorRef(name, 0, name)),
        (name,),
        name,
        {name: AttrPlaceholder(name), "f": FunctionRef(name, ((name, spelled),))},
    )
    line = node_to_text(node)
    assert not any(unicodedata.category(char).startswith("C") for char in line)
    assert line.isascii() and len(line.splitlines()) == 1
    round_trip(Graph.of([node]))


@pytest.mark.parametrize("word", WORDS)
def test_words_of_the_notation_are_names_like_any_other(word: str) -> None:
    node = Node(word, word, (TensorRef(word, 0, word),), (word,), attrs={word: b""})
    body = MappingProxyType({word: node})
    returns = {word: TensorRef(word, 2, word)}
    argument = (Argument(word, None),)
    function = Function(word, argument, argument, body, returns, {word: word}, {word: ()}, True)
    round_trip(Graph.of([node], functions={word: function}))


GOLDEN = r"""graph producer=134 min_consumer=12 bad_consumers=[7] extra="0a" library_extra="ff00"
x = Placeholder() {dtype=float, shape=shape[?,8]}
"in\u202eit\n" = NoOp()
f/Conv2D = Conv2D(x, w/read:1) {T=float, strides=[1, 2], data_format="NHWC", explicit=true}
y = AddV2(x, f/Conv2D, ^"in\u202eit\n") {T=float, _class=["loc:@w"], d=0.0} @"/device:CPU:0" !"3a00"
c = Const() {dtype=float_ref, value=tensor(float, shape[], "CAESAA=="), rank=shape[*], none=[]}
p = PartitionedCall(y) {f=func(square, {T=int32}), odd=opaque("5001"), e=[inf, -inf, nan, -0.0]}
function square(a: float, n: ?) => (b: float) stateful {api="\xffq\"\\"} {
  m = Mul(a, split:output:1, n:num:0) {T=$T}
  return b = m:z:0
  control_return done = m
}
"""


def golden_graph() -> Graph:
    body = Node(
        "m",
        "Mul",
        (TensorRef("a"), TensorRef("split", 1, "output"), TensorRef("n", 0, "num")),
        attrs={"T": AttrPlaceholder("T")},
    )
    square = Function(
        "square",
        (Argument("a", DType.FLOAT), Argument("n", None)),
        (Argument("b", DType.FLOAT),),
        {"m": body},
        {"b": TensorRef("m", 0, "z")},
        {"done": "m"},
        {"api": b'\xffq"\\'},
        stateful=True,
    )
    init = "in\u202eit\n"
    conv = {"T": DType.FLOAT, "strides": (1, 2), "data_format": b"NHWC", "explicit": True}
    add = {"T": DType.FLOAT, "_class": (b"loc:@w",), "d": 0.0}
    const = {
        "dtype": DType(101),
        "value": TensorValue(DType.FLOAT, Shape(()), b"\x08\x01\x12\x00"),
        "rank": Shape(None),
        "none": (),
    }
    call = {
        "f": FunctionRef("square", (("T", DType.INT32),)),
        "odd": OpaqueAttr(b"P\x01"),
        "e": (math.inf, -math.inf, math.nan, -0.0),
    }
    placeholder = {"dtype": DType.FLOAT, "shape": Shape((None, 8))}
    return Graph.of(
        [
            Node("x", "Placeholder", attrs=placeholder),
            Node(init, "NoOp"),
            Node("f/Conv2D", "Conv2D", (TensorRef("x"), TensorRef("w/read", 1)), attrs=conv),
            Node(
                "y",
                "AddV2",
                (TensorRef("x"), TensorRef("f/Conv2D")),
                (init,),
                "/device:CPU:0",
                add,
                b":\x00",
            ),
            Node("c", "Const", attrs=const),
            Node("p", "PartitionedCall", (TensorRef("y"),), attrs=call),
        ],
        functions={"square": square},
        versions=Versions(134, 12, (7,)),
        extra=b"\n",
        library_extra=b"\xff\x00",
    )


def test_a_small_graph_is_written_as_documented() -> None:
    assert to_text(golden_graph()) == GOLDEN


def test_a_small_graph_is_read_as_documented() -> None:
    assert held(from_text(GOLDEN)) == held(golden_graph())


def test_blank_lines_indentation_and_windows_line_ends_do_not_matter() -> None:
    loose = "\r\n\r\n".join(f"\t{line} " for line in GOLDEN.split("\n"))
    assert held(from_text(loose)) == held(golden_graph())


def test_raw_bytes_are_not_part_of_the_notation() -> None:
    node = Node("x", "NoOp", raw=b"\n\x01x")
    assert node_to_text(node) == "x = NoOp()"
    assert round_trip(Graph.of([node]))["x"].raw is None


def test_a_node_is_written_as_in_the_graph_that_holds_it() -> None:
    graph = golden_graph()
    lines = GOLDEN.splitlines()
    assert [node_to_text(node) for node in graph.nodes.values()] == lines[1:7]


def test_numbers_that_compare_equal_stay_apart() -> None:
    values = (True, 1, 1.0, DType.FLOAT, 0.0, -0.0, 0, False)
    node = Node("n", "Op", attrs={f"a{i}": value for i, value in enumerate(values)})
    read = round_trip(Graph.of([node]))["n"].attrs
    assert [type(v) for v in read.values()] == [type(v) for v in values]


def test_every_nan_keeps_its_bits() -> None:
    spelled = ("7ff8000000000000", "fff8000000000000", "7ff8000000000123")
    values = tuple(struct.unpack(">d", bytes.fromhex(bits))[0] for bits in spelled)
    node = Node("n", "Op", attrs={"v": values})
    assert node_to_text(node).endswith('[nan, nan("fff8000000000000"), nan("7ff8000000000123")]}')
    round_trip(Graph.of([node]))


def test_an_unknown_type_is_spelled_by_its_number_whatever_was_met_before() -> None:
    lines = [
        node_to_text(Node("n", "Op", attrs={"T": DType(number)})) for number in (201, 101, 201, 178)
    ]
    DType(78)
    again = node_to_text(Node("n", "Op", attrs={"T": DType(178)}))
    assert lines[0] == lines[2] == "n = Op() {T=unknown_201}"
    assert lines[1] == "n = Op() {T=float_ref}"
    assert lines[3] == again == "n = Op() {T=unknown_178}"


def test_a_function_attribute_keeps_what_it_gives_twice() -> None:
    twice = FunctionRef("f", (("T", 1), ("T", (2, FunctionRef("g")))))
    round_trip(Graph.of([Node("n", "Op", attrs={"f": twice, "fs": (twice, twice)})]))


@pytest.mark.parametrize(
    ("line", "column", "expected", "found"),
    [
        ("x Op()", 3, "'='", "'Op'"),
        ("x = (", 5, "an op", "'('"),
        ("x = Op(a b)", 10, "',' or ')'", "'b'"),
        ("x = Op(a, )", 11, "an input", "')'"),
        ("x = Op(a", 9, "',' or ')'", "the end of the line"),
        ("x = Op(^a, b)", 12, "'^' (control inputs come last)", "'b'"),
        ("x = Op(a:)", 10, "an output's number or name", "')'"),
        ("x = Op() {T}", 12, "'='", "'}'"),
        ("x = Op() {T=flaot}", 13, "an attribute value", "'flaot'"),
        ("x = Op() {T=1, T=2}", 16, "an attribute that was not given yet", "'T'"),
        ("x = Op() {T=[1, [2]]}", 17, "an attribute value", "'['"),
        ("x = Op() {s=shape[a]}", 19, "a whole number", "'a'"),
        ("x = Op() {s=what(1)}", 13, "shape[...]", "'what'"),
        ('x = Op() {s="\\q"}', 13, "escapes", "'\"\\q\"'"),
        ('x = Op() {s="abc}', 13, "closing quote", "'\"abc}'"),
        ('x = Op() {s="abc\\"', 13, "closing quote", "'\"abc\\\"'"),
        ('x = Op() {s="\\u0100"}', 13, "bytes", "'\"\\u0100\"'"),
        ('x = Op() {s=opaque("0")}', 20, "hexadecimal", "'\"0\"'"),
        ('x = Op() {v=tensor(float, shape[], "é")}', 36, "base64", "'\"é\"'"),
        ('x = Op() {v=tensor(float, shape[], "A")}', 36, "base64", "'\"A\"'"),
        ('x = Op() {v=nan("3ff0000000000000")}', 17, "a NaN", "'\"3ff0000000000000\"'"),
        (f"x = Op() {{n={'9' * 5000}}}", 13, "an attribute value", f"'{'9' * 39}…'"),
        ("x = Op() @cpu", 11, "a quoted string", "'cpu'"),
        ("x = Op() # why", 10, "the end of the line", "'#'"),
        ("x = Op()\u202e", 9, "the end of the line", "'\\u202e'"),
        ("a = Again()", 1, "a node name that is not used above", "'a'"),
        ("function f(a) => () {", 13, "':'", "')'"),
        ("function f() -> () {", 14, "'=>'", "'->'"),
        ("function f() => () {", 21, "'}' that ends the function", "the end of the line"),
    ],
)
def test_an_error_says_where_and_what_was_expected(
    line: str, column: int, expected: str, found: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        from_text(f"graph\n\na = NoOp()\n{line}")
    message = str(caught.value)
    assert f"line 4, column {column}: expected " in message
    before, after = message.split(", found ")
    assert expected in before
    assert after == f"{found}."


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("", "line 1, column 1", "'graph'"),
        ("\n  x = Op()", "line 2, column 3", "'graph'"),
        ("graph maker=1", "line 1, column 7", "producer, min_consumer"),
        ("graph producer=1.5", "line 1, column 16", "a whole number"),
        ("graph bad_consumers=[1.5]", "line 1, column 22", "a whole number"),
        ('graph extra="0g"', "line 1, column 13", "hexadecimal"),
        (
            "graph\nfunction f() => () {\n}\nfunction f() => () {\n}",
            "line 4, column 10",
            "function",
        ),
        ("graph\nfunction f() => () {\nreturn a = b c\n}", "line 3, column 14", "the end"),
        (
            "graph\nfunction f() => () {\nreturn a = b\nreturn a = c\n}",
            "line 4, column 8",
            "return",
        ),
        ("graph\nfunction f() => () {\n} }", "line 3, column 3", "the end"),
    ],
)
def test_an_error_in_the_head_or_a_function_says_where(
    text: str, place: str, expected: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        from_text(text)
    before = str(caught.value).split(", found ")[0]
    assert f"{place}: expected " in before and expected in before


def test_functions_nested_without_end_are_refused() -> None:
    nested = "func(f, {a=" * 5000 + "1" + "})" * 5000
    with pytest.raises(InvalidInputError, match=r"line 2, column .* nested less deeply"):
        from_text(f"graph\nx = Op() {{f={nested}}}")


def test_time_grows_no_faster_than_the_graph() -> None:
    count = 30_000
    graph = Graph.of(
        Node(
            f"layer_{i // 10}/add_{i}",
            "AddV2",
            (TensorRef(f"layer_{(i - 1) // 10}/add_{i - 1}"), TensorRef("x", 1)),
            ("init",),
            "/device:CPU:0",
            {"T": DType.FLOAT, "_class": (b"loc:@w",), "axis": i},
        )
        for i in range(count)
    )
    start = time.process_time()
    text = to_text(graph)
    written = time.process_time()
    read = from_text(text)
    assert written - start < 2
    assert time.process_time() - written < 10
    assert len(read) == count


@pytest.mark.parametrize("tail", ['\\"' * 100_000, "\\" * 200_001, '"a' * 100_001])
def test_a_quote_that_nothing_closes_is_refused_at_once(tail: str) -> None:
    start = time.process_time()
    with pytest.raises(InvalidInputError):
        from_text(f'graph\n"{tail}')
    assert time.process_time() - start < 2
