"""Watching a run: on a terminal, as a page and as metrics, all from the ledger and so correct even after a kill."""
