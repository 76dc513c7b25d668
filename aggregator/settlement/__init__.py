"""Baselines, delivered energy, money."""
