"""From end-effector velocities to safe joint velocities; knows nothing of ROS or the world."""
