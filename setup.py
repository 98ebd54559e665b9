"""Names the builder of the C core, and what its module needs of Python; everything else is in pyproject.toml."""

from setuptools import setup

# cffi builds the module with the stable interface: one wheel serves 3.11 and every later Python.
setup(
    cffi_modules=["gpa_maint/_core/build.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
