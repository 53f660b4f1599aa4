"""Proof for others: a certificate of a run, and the way from one key to its root."""
