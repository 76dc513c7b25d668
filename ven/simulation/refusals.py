"""The answer to a message that is not accepted: the one its service has, with the response code and the reason."""

from __future__ import annotations

from ven.endpoint import request_id_of
from ven.simulation.errors import ProtocolError
from ven.simulation.mailbox import new_id
from ven.wire.common import EiResponse
from ven.wire.event import DistributeEvent, RequestEvent
from ven.wire.opt import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt
from ven.wire.party import CanceledPartyRegistration, CancelPartyRegistration, Response
from ven.wire.payload import Message
from ven.wire.report import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    UpdatedReport,
    UpdateReport,
)


def refusal(message: Message, error: ProtocolError, vtn_id: str) -> Message:
    """For every message but oadrCreatePartyRegistration, which is answered by ``Registrations.refused``."""
    response = EiResponse(code=error.code, description=str(error), request_id=request_id_of(message))
    match message:
        case CancelPartyRegistration():
            return CanceledPartyRegistration(response=response, ven_id=message.ven_id)
        case RequestEvent():
            return DistributeEvent(request_id=new_id("distribute"), vtn_id=vtn_id, response=response)
        case RegisterReport():
            return RegisteredReport(response=response, ven_id=message.ven_id)
        case UpdateReport():
            return UpdatedReport(response=response, ven_id=message.ven_id)
        case CreateReport():
            return CreatedReport(response=response, ven_id=message.ven_id)
        case CancelReport():
            return CanceledReport(response=response, ven_id=message.ven_id)
        case CreateOpt():
            return CreatedOpt(response=response, opt_id=message.opt_id)
        case CancelOpt():
            return CanceledOpt(response=response, opt_id=message.opt_id)
    ven_id: str | None = getattr(message, "ven_id", None)
    return Response(response=response, ven_id=ven_id)
