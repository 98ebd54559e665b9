"""Hooks, settings and timers that start maintenance. uninstall restores the old state byte for byte."""
