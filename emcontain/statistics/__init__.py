"""Rates, contrasts and bounds of graded answers, clustered by question. No harness; docs/statistics.md explains."""
