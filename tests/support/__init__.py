"""Servers, builders, the oracle and the fault proxy that tests share."""
