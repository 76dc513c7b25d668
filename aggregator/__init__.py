"""Aggregator: portfolio, dispatch, uplink gateway, settlement, audit, console."""
