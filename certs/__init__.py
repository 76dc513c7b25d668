"""PKI of the two trust domains: authorities, certificates, OpenADR fingerprints, TLS contexts, signing keys."""
