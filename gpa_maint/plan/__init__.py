"""Decide: pure functions from an Inventory, options and a given time to a plan. No file, no clock, no printing."""
