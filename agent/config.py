"""The site agent's configuration file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agent.control.tuning import Tuning
from certs.tls import Identity
from grid.process.config import FilePath, Settings, load


class SiteSettings(Settings):
    """``[site]``."""

    id: str = Field(min_length=1)
    """As in the site's certificate, ``urn:negawatt:site:<id>``."""
    state_dir: FilePath
    """Holds the journal with its lock, the spool and the audit key."""


class ModbusSettings(Settings):
    """A device over Modbus TCP."""

    host: str = "127.0.0.1"
    port: int = Field(default=502, ge=1, le=65535)
    unit: int = Field(default=1, ge=0, le=255)


class MeterSettings(ModbusSettings):
    """``[meter]``, and ``[check_meter]`` for a second one."""

    reversed_ct: bool = False
    """What it calls import is export: its current transformers sit the other way round."""
    sequence_register: int | None = Field(default=None, ge=0, le=65535)
    """A holding register that counts or tells the time; left out, all that the meter shows is watched instead."""


class BatterySettings(ModbusSettings):
    """``[battery]``."""

    discharge_positive: bool = True
    """The sign of W and WSet at this vendor; SunSpec says positive for discharge."""


class NodeSettings(Settings):
    """``[node]``."""

    simulated: bool = False
    """Accept the simulated NVML library, and only it."""
    lock_dir: FilePath = Path("/run/lock/negawatt")
    """Holds a lock per GPU: the same folder for every agent of the machine, so that a GPU has one writer."""


class WorkloadSettings(Settings):
    """``[workloads]``."""

    file: FilePath
    """What the workload manager says is running (agent.workloads.jobs)."""


class UplinkSettings(Settings):
    """``[uplink]``: left out, the agent works alone."""

    url: str
    """wss URL of the aggregator's gateway, down to /uplink."""
    certificate: FilePath
    key_file: FilePath
    roots: FilePath
    """The roots of the site PKI."""

    @property
    def identity(self) -> Identity:
        return Identity(certificate=self.certificate, key=self.key_file, roots=self.roots)


class AdminSettings(Settings):
    """``[admin]``: health, metrics and /status, plain HTTP."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)


class AgentSettings(Settings):
    """The whole file."""

    site: SiteSettings
    meter: MeterSettings
    check_meter: MeterSettings | None = None
    """Stands in for the first when that gives nothing."""
    battery: BatterySettings | None = None
    """A site without one holds its budget by caps alone."""
    node: NodeSettings = NodeSettings()
    workloads: WorkloadSettings
    uplink: UplinkSettings | None = None
    admin: AdminSettings = AdminSettings()
    control: Tuning = Tuning()


def read_config(path: Path) -> AgentSettings:
    """Read and check the file. Raises ConfigError."""
    return load(path, AgentSettings)
