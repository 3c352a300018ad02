"""What every pass that recomputes values in the backward pass needs, whatever it recomputes."""
