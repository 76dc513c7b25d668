"""What every Negawatt process does the same way: configuration, logging, health, metrics, command line."""
