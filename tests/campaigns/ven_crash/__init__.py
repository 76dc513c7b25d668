"""Kills a VEN at every journal write and every send, and counts what its VTN holds afterwards."""
