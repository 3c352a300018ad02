"""Regions in the bodies of v1 while loops: computed again in each iteration of the gradient."""
