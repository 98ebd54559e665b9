"""Hunts for sequences and overlaps of commands that lose objects: `python -m tests.hunt`, or `make hunt`."""
