"""The report of a run: its facts, and the formats it is written in."""
