"""The vocabulary every Negawatt process shares: units, time, events, messages, errors, audit chain."""
