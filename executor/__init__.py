"""Plan and ledger in, objects moved and verified. Decides HOW, never what."""
