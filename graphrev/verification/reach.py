"""What running a graph would touch beside memory: files, other machines, this process's Python.

A graph is an input like any other: a path in it is not followed only because somebody wanted a
graph compared. Ops that open what a graph names are never run; where nobody asked for a run, every
op that keeps or shares state is left alone too, unless it is known to keep it in memory and in its
session. Function bodies count. Sources: TensorFlow's op registries, 1.15 and 2.21.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphrev.analysis import ops
from graphrev.analysis.functions_calls import nodes_run
from graphrev.analysis.functions_size import Inlined, inlined
from graphrev.errors import VerificationError, printable
from graphrev.ir import Graph, Node, TensorRef
from graphrev.verification.choices import ancestors

_OPENS = frozenset(
    """
    CacheDataset CacheDatasetV2 CreateSummaryDbWriter CreateSummaryFileWriter CSVDataset
    CSVDatasetV2 DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3 DataServiceDatasetV4
    DatasetToTFRecord DebugIdentity DebugIdentityV2 DebugIdentityV3 DebugNanCount
    DebugNumericSummary DebugNumericSummaryV2 DistributedSave ExperimentalCSVDataset
    ExperimentalDatasetToTFRecord ExperimentalLMDBDataset ExperimentalMatchingFilesDataset
    ExperimentalSqlDataset FileSystemSetConfiguration FixedLengthRecordDataset
    FixedLengthRecordDatasetV2 FixedUnigramCandidateSampler GenerateVocabRemapping ImmutableConst
    InitializeTableFromTextFile InitializeTableFromTextFileV2 KafkaDataset LMDBDataset
    ListSnapshotChunksDataset LoadAndRemapMatrix LoadDataset MatchingFiles MatchingFilesDataset
    MergeV2Checkpoints ReadFile ReaderRead ReaderReadUpTo ReaderReadUpToV2 ReaderReadV2 RecordInput
    RemoteCall Restore RestoreSlice RestoreV2 Rpc Save SaveDataset SaveDatasetV2 SaveSlices SaveV2
    SnapshotChunkDataset SnapshotDataset SnapshotDatasetReader SnapshotDatasetV2 SqlDataset
    TFRecordDataset TFRecordDatasetV2 TextLineDataset TryRpc WriteFile
    """.split()
)
"""Ops that open a file or a connection that the graph names, or write one."""
_KEEPS_TO_ITSELF = frozenset(
    """
    Assert AssignAddVariableOp AssignSubVariableOp AssignVariableOp Case CheckNumerics
    CheckNumericsV2 DeepCopy Empty GuaranteeConst If ResourceCountUpTo ResourceGather
    ResourceGatherNd ResourceScatterAdd ResourceScatterDiv ResourceScatterMax ResourceScatterMin
    ResourceScatterMul ResourceScatterNdAdd ResourceScatterNdSub ResourceScatterNdUpdate
    ResourceScatterSub ResourceScatterUpdate ResourceStridedSliceAssign RngReadAndSkip RngSkip Stack
    StackClose StackCloseV2 StackPop StackPopV2 StackPush StackPushV2 StackV2
    StatefulPartitionedCall TensorArray TensorArrayCloseV2 TensorArrayCloseV3 TensorArrayConcatV2
    TensorArrayConcatV3 TensorArrayGatherV2 TensorArrayGatherV3 TensorArrayGrad TensorArrayGradV2
    TensorArrayGradV3 TensorArrayGradWithShape TensorArrayReadV2 TensorArrayReadV3
    TensorArrayScatterV2 TensorArrayScatterV3 TensorArraySizeV2 TensorArraySizeV3 TensorArraySplitV2
    TensorArraySplitV3 TensorArrayV2 TensorArrayV3 TensorArrayWriteV2 TensorArrayWriteV3
    VarIsInitializedOp VariableShape While
    """.split()
)
"""Stateful ops whose state is the session's, beside variables, optimizers and random ops."""
_SECONDS, _MINUTES = Inlined(30_000, 100), Inlined(3_000_000, 500)
"""What is run unasked, and what is run at all."""
_CALLS_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


def opens(graph: Graph, names: Iterable[str]) -> Node | None:
    """The first of the nodes ``names``, or of what they call, that opens what the graph names."""
    return next(
        (node for node in nodes_run(graph, _present(graph, names)) if node.op in _OPENS), None
    )


def check_reach(
    graph: Graph, starts: Iterable[str], fed: Iterable[TensorRef], *, contained: bool = False
) -> None:
    """Refuses a run of ``starts`` that would open files.

    Args:
        fed: what is fed is not run.
        contained: also refuse ops that are not known to keep to their session, and what takes
            more than seconds.

    Raises:
        VerificationError: the run would reach out, and the node is named; or it would grow beyond
            all bounds.
    """
    fed_names = frozenset(ref.node for ref in fed)
    names = sorted(ancestors(graph, starts, fed_names) - fed_names)
    _check_size(inlined(graph, _present(graph, names)), _SECONDS if contained else _MINUTES)
    node = opens(graph, names)
    if node is not None:
        raise VerificationError(
            f"Running the graph would open what it names: '{printable(node.name)}' is a "
            f"'{printable(node.op)}'. Fetch something that does not need it (--fetch NAME)."
        )
    unknown = (
        node for node in nodes_run(graph, _present(graph, names)) if not _is_contained(graph, node)
    )
    node = next(unknown, None) if contained else None
    if node is not None:
        raise VerificationError(
            f"running the graph would run '{printable(node.name)}', a '{printable(node.op)}', "
            "which may reach beyond its session"
        )


def _check_size(found: Inlined, most: Inlined) -> None:
    if found.nodes <= most.nodes and found.depth <= most.depth:
        return
    count = str(found.nodes) if found.nodes < 10**12 else "over 10^12"
    raise VerificationError(
        f"running the graph would run {count} nodes, up to {found.depth} calls in each other, once "
        f"its functions are in the place of their calls; at most {most.nodes} nodes and "
        f"{most.depth} calls are run"
    )


def _is_contained(graph: Graph, node: Node) -> bool:
    op = node.op
    if op in _OPENS or op in _CALLS_PYTHON:
        return False
    known = op in graph.functions or op in _KEEPS_TO_ITSELF
    if known or not ops.is_stateful(op):
        return True
    computes = ops.is_variable(op) or ops.is_variable_read(op) or ops.is_random(op)
    return computes or ops.is_optimizer_apply(op) or bool(ops.mutates_ref_input(op))


def _present(graph: Graph, names: Iterable[str]) -> Iterator[Node]:
    return (graph[name] for name in names if name in graph)
