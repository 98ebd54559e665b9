"""Names the builder of the C core; everything else is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["gpa_maint/_core/build.py:ffibuilder"])
