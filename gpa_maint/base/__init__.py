"""Helpers that know no repository. They import only the standard library and the error tree."""
