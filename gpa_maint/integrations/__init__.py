"""Adapters for other libraries over PageStore. Each module translates for one library, and decides nothing."""
