"""Frozen values: what was found, what shall be done, what was done. They open nothing.

Named tuples, not dataclasses: a command spends more time on importing than on deciding, and these are made several
times faster, both the classes and their values.
"""
