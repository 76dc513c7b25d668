"""The site agent's configuration file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from agent.control.tuning import Tuning
from agent.generator.cost import GeneratorCost
from agent.generator.machine import GeneratorLimits
from agent.generator.permits import EngineClass, Permit, Purpose
from agent.source.contacts import Contact, Wire
from agent.source.interlocks import INTERLOCKS, InterlockTimes
from agent.source.state import SourceTimes
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


class PermitSettings(Settings):
    """``[generator.permit]``."""

    number: str = Field(min_length=1)
    engine_class: EngineClass
    hours_per_year: dict[Purpose, float] = Field(default_factory=dict)
    total_hours_per_year: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _no_market_for_emergency_engines(self) -> PermitSettings:
        if self.engine_class is EngineClass.EMERGENCY and Purpose.MARKET in self.hours_per_year:
            raise ValueError(f"permit {self.number} is for an emergency engine: it may have no hours for the market")
        if Purpose.UNASKED in self.hours_per_year:
            raise ValueError("no permit gives hours for runs that nobody asked for: leave unasked out")
        return self

    def permit(self) -> Permit:
        return Permit(
            number=self.number,
            engine_class=self.engine_class,
            hours_per_year=self.hours_per_year,
            total_hours_per_year=self.total_hours_per_year,
        )


class GeneratorSettings(ModbusSettings):
    """``[generator]``: an engine behind the register map of agent.generator.registers."""

    name: str = Field(min_length=1)
    """Under which its hours are kept."""
    rating_kw: float = Field(gt=0)
    min_load_share: float = Field(default=0.3, ge=0, lt=1)
    ramp_kw_per_s: float = Field(gt=0)
    block_kw: float = Field(gt=0)
    block_pause_s: float = Field(default=5.0, ge=0)
    start_s: float = Field(default=10.0, gt=0)
    start_timeout_s: float = Field(default=30.0, gt=0)
    start_tries: int = Field(default=3, ge=1)
    retry_pause_s: float = Field(default=15.0, ge=0)
    min_up_s: float = Field(default=900.0, ge=0)
    cool_down_s: float = Field(default=300.0, ge=0)
    fuel_usd: float = Field(ge=0)
    """A unit of fuel; the two rates are in the same unit."""
    fuel_per_h: float = Field(ge=0)
    fuel_per_kwh: float = Field(gt=0)
    upkeep_usd_per_h: float = Field(default=0.0, ge=0)
    start_usd: float = Field(default=0.0, ge=0)
    permit: PermitSettings

    def limits(self) -> GeneratorLimits:
        return GeneratorLimits(**{field.name: getattr(self, field.name) for field in fields(GeneratorLimits)})

    def cost(self) -> GeneratorCost:
        return GeneratorCost(**{field.name: getattr(self, field.name) for field in fields(GeneratorCost)})


class InputSettings(ModbusSettings):
    """``[[inputs]]``: a module whose discrete inputs are contacts of the site."""

    contacts: dict[Contact, Annotated[int, Field(ge=0, le=1999)]] = Field(min_length=1)
    """The address of each contact's input."""
    normally_closed: frozenset[Contact] = frozenset()
    """Contacts that say yes by opening."""

    @model_validator(mode="after")
    def _wired(self) -> InputSettings:
        if astray := self.normally_closed - self.contacts.keys():
            raise ValueError(f"normally_closed names {', '.join(sorted(astray))}, which this module does not read")
        return self

    def wires(self) -> dict[Contact, Wire]:
        return {
            contact: Wire(address=address, normally_closed=contact in self.normally_closed)
            for contact, address in self.contacts.items()
        }


class SourceSettings(Settings):
    """``[source]``: how long to wait after what the contacts say."""

    hold_s: float = Field(default=300.0, ge=0)
    settle_s: float = Field(default=5.0, ge=0)
    unread_s: float = Field(default=3.0, ge=0)
    clear_s: float = Field(default=60.0, ge=0)
    """After an interlock cleared."""
    shed_on: frozenset[Contact] = frozenset()
    """Interlocks that ask to shed."""

    @model_validator(mode="after")
    def _sheds_on_interlocks(self) -> SourceSettings:
        if astray := self.shed_on - set(INTERLOCKS):
            raise ValueError(
                f"shed_on names {', '.join(sorted(astray))}: an interlock is one of {', '.join(INTERLOCKS)}"
            )
        return self

    def source_times(self) -> SourceTimes:
        return SourceTimes(hold_s=self.hold_s, settle_s=self.settle_s, unread_s=self.unread_s)

    def interlock_times(self) -> InterlockTimes:
        return InterlockTimes(clear_s=self.clear_s, unread_s=self.unread_s)


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
    generator: GeneratorSettings | None = None
    inputs: tuple[InputSettings, ...] = ()
    """Each contact on one of them; a site that wires any of the source's wires both of its signals."""
    source: SourceSettings = SourceSettings()
    node: NodeSettings = NodeSettings()
    workloads: WorkloadSettings
    uplink: UplinkSettings | None = None
    admin: AdminSettings = AdminSettings()
    control: Tuning = Tuning()

    @model_validator(mode="after")
    def _two_signals(self) -> AgentSettings:
        wired = [contact for module in self.inputs for contact in module.contacts]
        if twice := sorted({contact for contact in wired if wired.count(contact) > 1}):
            raise ValueError(f"inputs: wired twice: {', '.join(twice)}")
        missing = {Contact.ON_UTILITY, Contact.UTILITY_PRESENT}.difference(wired)
        if missing and set(wired) - set(INTERLOCKS):
            raise ValueError(f"inputs: the source needs two signals: wire {', '.join(sorted(missing))} too")
        return self


def read_config(path: Path) -> AgentSettings:
    """Read and check the file. Raises ConfigError."""
    return load(path, AgentSettings)
