"""Commands that change a run: pause and resume, limits, failed objects, its lock, the uploads it left open."""
