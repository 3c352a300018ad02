"""Blocks inside v1 while loops: the gradient loop rebuilds what the forward loop would stack."""
