"""The whole system on loopback: starts every process and reads only their HTTP and files."""
