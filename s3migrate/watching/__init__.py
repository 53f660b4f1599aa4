"""How a run is watched: read from the ledger, shown on a terminal, as a page, and as metrics. True after a kill."""
