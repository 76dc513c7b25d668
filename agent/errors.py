"""Everything the site agent refuses or fails at.

NegawattError
└── AgentError
    ├── DeviceError                 a device cannot be read or written
    │   ├── MeterError              the meter does not answer, or is not a SunSpec meter
    │   ├── BatteryError            the battery does not answer, or is not a SunSpec storage
    │   │   └── BatteryUnsafeError  it does not take a dead-man: it must not be used
    │   ├── GeneratorError          the generator does not answer, or does not take a command
    │   ├── InputsError             contacts of the site (source, interlocks) cannot be read
    │   └── GpuError                NVML refused; the subclass is the policy
    │       ├── GpuTelemetryOnlyError   not supported: read it, never cap it
    │       ├── GpuPermissionError      no permission: a configuration error
    │       ├── GpuLostError            the GPU is gone: drop it, spread its watts
    │       ├── GpuDriverError          no driver or library: the node is degraded
    │       ├── GpuLimitError           a limit outside what the GPU takes
    │       └── GpuTransientError       time-out or unknown: try again
    ├── NodeError                   caps cannot be owned by this process
    ├── BudgetRefusedError          a budget this site does not execute
    └── UplinkError                 the aggregator cannot be reached or refuses this site
"""

from __future__ import annotations

from grid.errors import NegawattError


class AgentError(NegawattError):
    """Anything a site agent refuses or fails at."""


class DeviceError(AgentError):
    """A device cannot be read or written."""


class MeterError(DeviceError):
    """The meter does not answer, or is not the meter that was configured."""


class BatteryError(DeviceError):
    """The battery does not answer, or is not the battery that was configured."""


class BatteryUnsafeError(BatteryError):
    """The battery does not take a dead-man reversion, so nothing would stop it if this process died."""


class GeneratorError(DeviceError):
    """The generator does not answer, is not the one that was configured, or does not take a command."""


class InputsError(DeviceError):
    """Contacts of the site cannot be read: its source and its interlocks are unknown."""


class GpuError(DeviceError):
    """NVML refused. Each subclass is one row of the error policy."""


class GpuTelemetryOnlyError(GpuError):
    """Not supported by this GPU: it is read, never capped."""


class GpuPermissionError(GpuError):
    """This process may not set limits: a configuration error."""


class GpuLostError(GpuError):
    """The GPU fell off the bus or needs a reset: it is dropped and its watts spread over the others."""


class GpuDriverError(GpuError):
    """No usable driver or library: nothing on this node can be controlled."""


class GpuLimitError(GpuError):
    """The limit is outside what the GPU accepts."""


class GpuTransientError(GpuError):
    """A time-out or an unknown error: worth another try."""


class NodeError(AgentError):
    """Caps on this node cannot be owned by this process."""


class BudgetRefusedError(AgentError):
    """A budget this site does not execute; the message is the reason the aggregator is told."""


class UplinkError(AgentError):
    """The aggregator cannot be reached, or refuses this site."""
