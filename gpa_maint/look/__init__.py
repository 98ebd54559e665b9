"""Reads a repository and says what is there. Changes nothing."""
