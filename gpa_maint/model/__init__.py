"""Frozen values: findings, plans and results. They open nothing.

They are named tuples, not dataclasses: a command spends more time on imports than on decisions, and both the classes
and their values are created several times faster.
"""
