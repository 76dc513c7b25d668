"""Site agent: holds one site's meter to its budget and reports telemetry; knows nothing of OpenADR."""
