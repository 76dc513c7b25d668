"""A utility's VTN to call events and collect reports, in a process of its own."""
