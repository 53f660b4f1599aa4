"""Commands that change a run: its limits, its failed objects, its lock, the uploads it left open."""
