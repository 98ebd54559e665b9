"""What starts maintenance: hooks, settings, timers. Undone byte for byte."""
