"""Graphs as Google's Model Explorer shows them (ai-edge-model-explorer, its JSON format).

Nothing but :mod:`graphrev.diff.explorer.main`, the adapter Model Explorer loads, imports it.
"""

from graphrev.diff.explorer.session import Pane, Session, session_of_diff, session_of_graph

__all__ = ["Pane", "Session", "session_of_diff", "session_of_graph"]
