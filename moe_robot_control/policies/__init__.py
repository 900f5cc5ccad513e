"""Observation spaces, expert and manipulation networks, their mixture and runtime."""
