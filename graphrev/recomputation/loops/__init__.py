"""Values of a v1 while loop's iterations, as its gradient loop gets them."""
