"""One profile for hypothesis: the suite is the same each time and leaves nothing behind."""

from hypothesis import settings

settings.register_profile("suite", deadline=None, database=None, derandomize=True)
settings.load_profile("suite")
