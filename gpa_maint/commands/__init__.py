"""The verbs under the name by which programs import them; each is made in a file of its own in verbs/."""

from __future__ import annotations

from ..verbs.commands import *  # noqa: F403
from ..verbs.commands import __all__ as __all__
