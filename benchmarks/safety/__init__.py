"""A stand-in for a real arm, faults to try it with, and what is written about them."""
