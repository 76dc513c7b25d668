"""Server end of the uplink: many sites over mTLS WebSockets."""
