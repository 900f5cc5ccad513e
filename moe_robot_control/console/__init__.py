"""The operator's console: one web page and its server. Knows nothing of ROS: see `robot.Robot`."""
