"""Proof for third parties: a certificate of a run, a proof that it includes a key, a report."""
