"""The ROS 2 graph: thin shells around the plain cores, and what starts them."""
