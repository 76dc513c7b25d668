"""What runs on the GPUs: jobs, flex tiers, power-throughput curves."""
