"""Recorded episodes: their MCAP format, writer and reader; no ROS installation is needed."""
