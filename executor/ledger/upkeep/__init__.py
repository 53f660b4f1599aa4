"""What keeps the ledger itself in order: its schema brought up to date, runs that have ended made small."""
