"""A SunSpec revenue meter (models 201 to 204, or 701) over Modbus TCP.

Its W is the mean of the last whole second. Import is positive in 201 to 204 at the grid, and negative in 701, which
counts what is generated; a meter whose current transformers sit the other way round is configured as such. SunSpec
gives a reading neither sequence nor time, so a meter is stale once a register that counts, or where there is none all
that it shows, has stood still for some seconds: voltage, frequency and energy of a live one never do.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from agent.control.readings import MeterReading
from agent.errors import MeterError
from agent.modbus import SunSpecDevice, SunSpecError, read_head
from grid.clock import Clock
from grid.intervals import Interval, floor_to
from grid.units import W_PER_KW

SECOND = timedelta(seconds=1)
STALE_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a meter shows."""

    import_w: float | None
    """None when it shows no power."""
    seen: Hashable
    """Differs from one second to the next on a live meter."""
    sensor_missing: bool


class _Model(Protocol):
    """One of the models a meter may have."""

    @property
    def number(self) -> int:
        """Of the model."""

    def is_meter(self, models: Collection[int]) -> bool:
        """Whether a device with these models is a meter by this one."""

    def read(self, model: Any) -> Shown:
        """Raises what pysunspec2 raises."""


class _AcMeter:
    """201 single, 202 split, 203 wye, 204 delta."""

    _MISSING_SENSOR = 1 << 7

    def __init__(self, number: int) -> None:
        self.number = number

    def is_meter(self, models: Collection[int]) -> bool:
        return self.number in models

    def read(self, model: Any) -> Shown:
        # One request, so that W and its scale factor belong together.
        model.read()
        watts = model.W.cvalue
        return Shown(
            import_w=None if watts is None else float(watts),
            seen=tuple(point.value for point in model.points.values()),
            sensor_missing=bool((model.Evt.value or 0) & self._MISSING_SENSOR),
        )


class _DerMeasurement:
    """701, as far down as its energy; its scale factors lie behind and are those of the scan."""

    number: ClassVar[int] = 701
    _OF_A_SOURCE: ClassVar[frozenset[int]] = frozenset((704, 713, 802))
    """What has these is a battery or a generator, and its power is not the site's."""

    def is_meter(self, models: Collection[int]) -> bool:
        return self.number in models and self._OF_A_SOURCE.isdisjoint(models)

    def read(self, model: Any) -> Shown:
        read_head(model, "TotWhAbs")
        watts = model.W.cvalue
        return Shown(
            import_w=None if watts is None else -float(watts),
            seen=tuple(point.value for point in model.points.values()),
            sensor_missing=False,
        )


_MODELS: tuple[_Model, ...] = (_AcMeter(203), _AcMeter(204), _AcMeter(202), _AcMeter(201), _DerMeasurement())


class SunSpecMeter:
    """Reads the meter once a call.

    ``section``: of the configuration file, for its errors. ``reversed_ct``: what it calls import is export.
    ``sequence_register``: the address of a holding register that counts or tells the time, where the vendor has one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        unit: int,
        *,
        clock: Clock,
        section: str = "meter",
        reversed_ct: bool = False,
        sequence_register: int | None = None,
    ) -> None:
        self._device = SunSpecDevice(host, port, unit)
        self._clock = clock
        self._section = section
        self._sign = -1.0 if reversed_ct else 1.0
        self._sequence_register = sequence_register
        self._seen: Hashable = None
        self._seen_at_s = 0.0

    async def read(self) -> MeterReading:
        """The mean of the last whole second before now. Raises MeterError."""
        boundary = floor_to(self._clock.now(), 1)
        try:
            shown = await self._device.call(self._shown)
        except SunSpecError as error:
            raise MeterError(f"meter {error}: check its address in [{self._section}] and its network") from error
        if shown is None or shown.import_w is None:
            raise MeterError(
                "the meter shows no power: it has just started, or has none of the SunSpec models 201 to 204 and 701"
            )
        if shown.sensor_missing:
            raise MeterError("the meter misses a sensor (Evt): check its current transformers and voltage taps")
        self._check_alive(shown.seen)
        site_kw = self._sign * shown.import_w / W_PER_KW
        return MeterReading(site_kw=site_kw, covers=Interval(start=boundary - SECOND, end=boundary))

    async def close(self) -> None:
        await self._device.close()

    def _shown(self, device: Any) -> Shown | None:
        for model in _MODELS:
            if model.is_meter(device.models):
                shown = model.read(device.models[model.number][0])
                if self._sequence_register is None:
                    return shown
                sequence = bytes(device.read(self._sequence_register, 1))
                return Shown(import_w=shown.import_w, seen=sequence, sensor_missing=shown.sensor_missing)
        return None

    def _check_alive(self, seen: Hashable) -> None:
        """Raises MeterError when what is seen is what was seen for too long."""
        now_s = self._clock.monotonic()
        if seen != self._seen:
            self._seen, self._seen_at_s = seen, now_s
        elif now_s - self._seen_at_s >= STALE_AFTER_S:
            what = "it shows the same values" if self._sequence_register is None else "its sequence stands still"
            raise MeterError(f"the meter hangs: {what} for {now_s - self._seen_at_s:.0f} s; restart it")
