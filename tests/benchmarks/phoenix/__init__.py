"""The Phoenix field test replayed: its ensemble and event, its published policy and ours, in figures of one kind.

``python -m tests.benchmarks.phoenix`` prints JSON. Source: arXiv 2507.00909 and its data set
ai-emerald/emerald-ai-demo-may-2025. Only ``measured`` is a measurement; everything else is simulated.
"""
