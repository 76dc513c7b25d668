"""Long runs of random harm: ``python -m tests.campaigns.NAME`` prints one JSON object, and fails when it finds any."""
