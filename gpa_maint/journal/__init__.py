"""The writer under the name by which programs import it; it is made in store/writer.py."""

from __future__ import annotations

from ..store.writer import Writer

__all__ = ["Writer"]
