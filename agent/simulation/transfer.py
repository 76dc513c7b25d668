"""A transfer switch with its power monitor, and the plant's interlocks, as contacts of two I/O modules.

When the utility fails, the power monitor drops out at once; the switch opens a moment later, and goes to the emergency
side once the generator's bus is up. When the utility is back for a while it goes back. Contacts may be stuck by a test.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.simulation.modbus import ContactDevice
from agent.source.contacts import Contact, Wire

SWITCH: Mapping[Contact, Wire] = {
    Contact.ON_UTILITY: Wire(address=0),
    Contact.ON_EMERGENCY: Wire(address=1),
    Contact.GENERATOR_TEST: Wire(address=2),
}
PLANT: Mapping[Contact, Wire] = {
    Contact.UTILITY_PRESENT: Wire(address=0),
    Contact.UPS_ON_BATTERY: Wire(address=1),
    Contact.UPS_BYPASS: Wire(address=2),
    Contact.COOLANT: Wire(address=3, normally_closed=True),
    Contact.LEAK: Wire(address=4, normally_closed=True),
    Contact.TEMPERATURE: Wire(address=5, normally_closed=True),
    Contact.FIRE: Wire(address=17, normally_closed=True),
    Contact.EPO: Wire(address=18, normally_closed=True),
}
CONTACTS_A_MODULE = 24

_OPENS_AFTER_S = 1.0
_TRANSFERS_AFTER_S = 10.0
_RETRANSFERS_AFTER_S = 30.0


class TransferSwitch:
    """Writes its contacts into the two modules that are served."""

    def __init__(self, switch: ContactDevice, plant: ContactDevice) -> None:
        self._modules = ((switch, SWITCH), (plant, PLANT))
        self.utility = True
        """Whether the utility's voltage is there."""
        self.stuck: dict[Contact, bool] = {}
        """Contacts that say this whatever is true."""
        self._values = dict.fromkeys((*SWITCH, *PLANT), False) | {
            Contact.ON_UTILITY: True,
            Contact.UTILITY_PRESENT: True,
        }
        self._gone_s = 0.0
        self._back_s = 0.0
        self._publish()

    def set(self, contact: Contact, value: bool) -> None:
        """An interlock, the UPS or a test, which do not follow from the utility."""
        self._values[contact] = value
        self._publish()

    def step(self, dt_s: float) -> None:
        """Go on by ``dt_s``."""
        self._gone_s = 0.0 if self.utility else self._gone_s + dt_s
        self._back_s = self._back_s + dt_s if self.utility else 0.0
        self._values[Contact.UTILITY_PRESENT] = self.utility
        if self._gone_s >= _OPENS_AFTER_S:
            self._values[Contact.ON_UTILITY] = False
        if self._gone_s >= _TRANSFERS_AFTER_S:
            self._values[Contact.ON_EMERGENCY] = True
        if self._back_s >= _RETRANSFERS_AFTER_S:
            self._values[Contact.ON_EMERGENCY] = False
            self._values[Contact.ON_UTILITY] = True
        self._publish()

    def _publish(self) -> None:
        for module, wires in self._modules:
            for contact, wire in wires.items():
                value = self.stuck.get(contact, self._values[contact])
                module.closed[wire.address] = value != wire.normally_closed
