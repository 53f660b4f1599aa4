"""Proves what a run did: both listings, heads and contents against plan and ledger. May use every room below apply/."""
