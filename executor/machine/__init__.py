"""This machine's memory, processors and descriptors. Imports nothing of executor/ but itself."""
