"""What the product costs, measured beside its peers in one run: `python -m benchmarks` (`--quick` for a first look).

The parts: `world` starts the servers, `client` is the load, `probe` reads what a process used, `relay` and `stock` are
the peers, `streaming` and `pairs` measure, `report` prints.
"""
