"""Facts of a repository outside `objects/` and `gpa/`: where its objects are, its settings, its refs.

Only git.py starts git.
"""
