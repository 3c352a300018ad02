"""The adapter: ``model-explorer --extensions=graphrev.diff.explorer model.meta``.

Model Explorer reads GraphDefs by itself, but numbers their nodes and knows no ``.meta``. It finds
this module by its name, ``main``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_explorer import (  # pyright: ignore[reportMissingImports]
    Adapter,
    AdapterMetadata,
)
from model_explorer.graph_builder import (  # pyright: ignore[reportMissingImports]
    GraphCollection,
)

from graphrev.diff.explorer.session import session_of_graph
from graphrev.io import files


class GraphrevAdapter(Adapter):  # pyright: ignore[reportUntypedBaseClass]
    """Reads what graphrev reads; node ids are op names, control inputs and functions are shown."""

    metadata = AdapterMetadata(
        id="graphrev",
        name="graphrev (TensorFlow 1 and 2 graphs)",
        description="Opens .meta, .pb and .pbtxt files, also compressed; node ids are op names.",
        source_repo="",
        fileExts=["meta", "pb", "pbtxt", "gz"],
    )

    def convert(self, model_path: str, settings: dict[str, Any]) -> dict[str, Any]:
        """The graph of a file with its library functions.

        Raises:
            GraphrevError: the file cannot be read; Model Explorer shows what it says.
        """
        model = files.load(model_path)
        pane = session_of_graph(model.graph).panes[0]
        collection = GraphCollection(label=Path(model_path).name, graphs=pane.graphs)
        return {"graphCollections": [collection]}
