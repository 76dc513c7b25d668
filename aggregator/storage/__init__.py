"""The aggregator's database: the only SQL above the journals."""
