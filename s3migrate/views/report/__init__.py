"""The report of a run: its facts, and the forms in which they are handed over."""
