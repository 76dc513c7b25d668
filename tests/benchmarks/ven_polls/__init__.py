"""What a poll costs a VEN and its VTN, and what a VEN weighs, beside openleadr and the least it could be."""
