"""The aggregator's audit chain: append, export, verify."""
