"""The C core, wrapped: the only package that sees ffi. build.py makes it, status.py turns codes into errors."""
