"""Renderings of plans, runs and verdicts: text, JSON lines, markdown. They decide nothing."""
