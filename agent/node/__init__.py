"""The node: GPUs held down under a lease, and given back as they were found."""

from agent.node.local import CHECK_EVERY_S, LocalNode
from agent.node.member import POWER_STANDS_S
from agent.node.port import ApplyResult, ClassTelemetry, Lease, NodePort, Table
from agent.node.summary import READ_ONLY

__all__ = [
    "CHECK_EVERY_S",
    "POWER_STANDS_S",
    "READ_ONLY",
    "ApplyResult",
    "ClassTelemetry",
    "Lease",
    "LocalNode",
    "NodePort",
    "Table",
]
