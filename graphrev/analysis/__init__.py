"""Facts: pure functions of a graph."""
