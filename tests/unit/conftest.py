"""Generated examples: the same ones each time, and no limit on time where other work is going on."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("unit")
