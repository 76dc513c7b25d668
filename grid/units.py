"""Power in kW, whatever unit and SI scale the utility wrote.

OpenADR 2.0b gives power as ``powerReal`` with ``itemUnits`` W and a ``siScaleCode``
(oadr_20b.xsd, SiScaleCodeType).
"""

from __future__ import annotations

from grid.errors import UnitError

SI_SCALE: dict[str, float] = {
    "p": 1e-12, "n": 1e-9, "micro": 1e-6, "m": 1e-3, "c": 1e-2, "d": 1e-1,
    "none": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
}  # fmt: skip

W_PER_KW = 1000.0
SECONDS_PER_HOUR = 3600.0


def power_kw(value: float, *, units: str, si_scale: str) -> float:
    """``value`` in kW. Raises UnitError for anything that is not real power in W."""
    if units != "W":
        raise UnitError(f"cannot read {value} {units} as real power: send itemUnits W")
    try:
        factor = SI_SCALE[si_scale]
    except KeyError:
        raise UnitError(f"unknown siScaleCode {si_scale!r}: send one of {', '.join(SI_SCALE)}") from None
    return value * factor / W_PER_KW


def energy_kwh(power_kw_mean: float, seconds: float) -> float:
    """Energy of a mean power over a duration. Unit: kWh."""
    return power_kw_mean * seconds / SECONDS_PER_HOUR
