"""OpenADR 2.0b conformance: rule by rule and operation by operation, with a VEN that runs and VTNs over HTTP."""
