"""Measuring: scenario suites, accuracy of perception, tables, plots and films."""
