"""The only Dagster folder: partitions, resources, assets, checks, sensors and jobs.

Asset bodies read, call one function of the core or of an adapter, and return.
"""
