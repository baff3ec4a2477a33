"""Coverline beside its peers: the workloads of a time-series table, measured in one run, printed as ratios."""
