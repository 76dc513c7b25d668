"""OpenADR 2.0b VEN gateway: sessions with utility VTNs, nothing of markets or sites."""
