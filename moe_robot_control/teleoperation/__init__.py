"""What an operator wants, from keys and gamepads; knows nothing of ROS."""
