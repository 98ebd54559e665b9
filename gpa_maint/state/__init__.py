"""Our own records in `gpa/`: each file has its reader and its writer in one module.

All of it may be deleted without losing an object.
"""
