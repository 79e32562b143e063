"""Benchmarks with their goals and peers: ``python -m bench NAME``.

Belongs here: measuring the product's real parts. Does not belong here: tests, thresholds that fail a build,
anything that the package needs to run.
"""
