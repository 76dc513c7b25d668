"""EiRegisterParty, OadrPoll and oadrResponse of OpenADR 2.0b."""

from __future__ import annotations

from dataclasses import dataclass

from ven.wire.common import (
    EI_RESPONSE,
    REQUEST_ID,
    VEN_ID,
    VTN_ID,
    EiResponse,
    read_response,
    write_response,
)
from ven.wire.xml import (
    Element,
    Fields,
    boolean,
    children,
    duration,
    inner,
    optional,
    read_bool,
    read_duration,
    tag,
    text,
)

PROFILE = "2.0b"
SIMPLE_HTTP = "simpleHttp"

# --- types --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRegistration:
    """oadrQueryRegistration: what does the VTN offer, and does it know us?"""

    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartyRegistration:
    """oadrCreatePartyRegistration: register; with the known identifiers, register again."""

    request_id: str
    ven_name: str | None = None
    ven_id: str | None = None
    registration_id: str | None = None
    profile: str = PROFILE
    transport: str = SIMPLE_HTTP
    transport_address: str | None = None
    """Where the VTN reaches a push VEN."""
    report_only: bool = False
    xml_signature: bool = True
    http_pull_model: bool | None = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """oadrInfo: a key and a value."""

    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """oadrProfile and its transports."""

    name: str = PROFILE
    transports: tuple[str, ...] = (SIMPLE_HTTP,)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedInfo:
    """oadrService or oadrExtension: facts under a name."""

    name: str
    info: tuple[Info, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedPartyRegistration:
    """oadrCreatedPartyRegistration: the VTN's answer; without a registration_id we are not registered."""

    response: EiResponse
    vtn_id: str
    ven_id: str | None = None
    registration_id: str | None = None
    profiles: tuple[Profile, ...] = (Profile(),)
    poll_interval_s: float | None = None
    """oadrRequestedOadrPollFreq."""
    services: tuple[NamedInfo, ...] = ()
    extensions: tuple[NamedInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelPartyRegistration:
    """oadrCancelPartyRegistration, either way."""

    request_id: str
    registration_id: str
    ven_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledPartyRegistration:
    """oadrCanceledPartyRegistration, either way."""

    response: EiResponse
    registration_id: str | None = None
    ven_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReregistration:
    """oadrRequestReregistration: the VTN wants a new registration."""

    ven_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """oadrPoll: anything for us?"""

    ven_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """oadrResponse, either way: nothing more to say than how it fared."""

    response: EiResponse
    ven_id: str | None = None


# --- writing ------------------------------------------------------------------------------------------------------


def _write_request_id(request_id: str) -> str:
    return f"<pyld:requestID>{text(request_id)}</pyld:requestID>"


def write_query_registration(message: QueryRegistration) -> str:
    return _write_request_id(message.request_id)


def write_create_party_registration(message: CreatePartyRegistration) -> str:
    return (
        f"{_write_request_id(message.request_id)}{optional('ei:registrationID', message.registration_id, text)}"
        f"{optional('ei:venID', message.ven_id, text)}"
        f"<oadr:oadrProfileName>{text(message.profile)}</oadr:oadrProfileName>"
        f"<oadr:oadrTransportName>{text(message.transport)}</oadr:oadrTransportName>"
        f"{optional('oadr:oadrTransportAddress', message.transport_address, text)}"
        f"<oadr:oadrReportOnly>{boolean(message.report_only)}</oadr:oadrReportOnly>"
        f"<oadr:oadrXmlSignature>{boolean(message.xml_signature)}</oadr:oadrXmlSignature>"
        f"{optional('oadr:oadrVenName', message.ven_name, text)}"
        f"{optional('oadr:oadrHttpPullModel', message.http_pull_model, boolean)}"
    )


def _write_info(info: tuple[Info, ...]) -> str:
    return "".join(
        f"<oadr:oadrInfo><oadr:oadrKey>{text(one.key)}</oadr:oadrKey>"
        f"<oadr:oadrValue>{text(one.value)}</oadr:oadrValue></oadr:oadrInfo>"
        for one in info
    )


def _write_profile(profile: Profile) -> str:
    transports = "".join(
        f"<oadr:oadrTransport><oadr:oadrTransportName>{text(name)}</oadr:oadrTransportName></oadr:oadrTransport>"
        for name in profile.transports
    )
    return (
        f"<oadr:oadrProfile><oadr:oadrProfileName>{text(profile.name)}</oadr:oadrProfileName>"
        f"<oadr:oadrTransports>{transports}</oadr:oadrTransports></oadr:oadrProfile>"
    )


def write_created_party_registration(message: CreatedPartyRegistration) -> str:
    poll = message.poll_interval_s
    services = "".join(
        f"<oadr:oadrService><oadr:oadrServiceName>{text(service.name)}</oadr:oadrServiceName>"
        f"{_write_info(service.info)}</oadr:oadrService>"
        for service in message.services
    )
    extensions = "".join(
        f"<oadr:oadrExtension><oadr:oadrExtensionName>{text(extension.name)}</oadr:oadrExtensionName>"
        f"{_write_info(extension.info)}</oadr:oadrExtension>"
        for extension in message.extensions
    )
    return (
        f"{write_response(message.response)}{optional('ei:registrationID', message.registration_id, text)}"
        f"{optional('ei:venID', message.ven_id, text)}<ei:vtnID>{text(message.vtn_id)}</ei:vtnID>"
        f"<oadr:oadrProfiles>{''.join(map(_write_profile, message.profiles))}</oadr:oadrProfiles>"
        f"{'' if poll is None else duration(poll, 'oadr:oadrRequestedOadrPollFreq')}"
        f"{f'<oadr:oadrServiceSpecificInfo>{services}</oadr:oadrServiceSpecificInfo>' if services else ''}"
        f"{f'<oadr:oadrExtensions>{extensions}</oadr:oadrExtensions>' if extensions else ''}"
    )


def write_cancel_party_registration(message: CancelPartyRegistration) -> str:
    return (
        f"{_write_request_id(message.request_id)}<ei:registrationID>{text(message.registration_id)}</ei:registrationID>"
        f"{optional('ei:venID', message.ven_id, text)}"
    )


def write_canceled_party_registration(message: CanceledPartyRegistration) -> str:
    return (
        f"{write_response(message.response)}{optional('ei:registrationID', message.registration_id, text)}"
        f"{optional('ei:venID', message.ven_id, text)}"
    )


def write_ven_id(message: Poll | RequestReregistration) -> str:
    return f"<ei:venID>{text(message.ven_id)}</ei:venID>"


def write_oadr_response(message: Response) -> str:
    return f"{write_response(message.response)}{optional('ei:venID', message.ven_id, text)}"


# --- reading ------------------------------------------------------------------------------------------------------

_REGISTRATION_ID = tag("ei", "registrationID")
_PROFILE_NAME = tag("oadr", "oadrProfileName")
_TRANSPORT_NAME = tag("oadr", "oadrTransportName")
_INFO = tag("oadr", "oadrInfo")


def read_query_registration(element: Element) -> QueryRegistration:
    return QueryRegistration(request_id=Fields(element).text(REQUEST_ID))


def read_create_party_registration(element: Element) -> CreatePartyRegistration:
    fields = Fields(element)
    return CreatePartyRegistration(
        request_id=fields.text(REQUEST_ID),
        ven_name=fields.optional(tag("oadr", "oadrVenName")),
        ven_id=fields.optional(VEN_ID),
        registration_id=fields.optional(_REGISTRATION_ID),
        profile=fields.text(_PROFILE_NAME).strip(),
        transport=fields.text(_TRANSPORT_NAME).strip(),
        transport_address=fields.optional(tag("oadr", "oadrTransportAddress")),
        report_only=read_bool(fields.need(tag("oadr", "oadrReportOnly"))),
        xml_signature=read_bool(fields.need(tag("oadr", "oadrXmlSignature"))),
        http_pull_model=fields.read(tag("oadr", "oadrHttpPullModel"), read_bool),
    )


def read_info(element: Element) -> Info:
    return Info(key=element[0].text or "", value=element[1].text or "")


def _read_named(element: Element) -> NamedInfo:
    return NamedInfo(name=inner(element), info=tuple(map(read_info, children(element, _INFO))))


def _read_profile(element: Element) -> Profile:
    fields = Fields(element)
    return Profile(
        name=fields.text(_PROFILE_NAME).strip(),
        transports=read_transports(fields.need(tag("oadr", "oadrTransports"))),
    )


def read_transports(element: Element) -> tuple[str, ...]:
    return tuple(inner(transport).strip() for transport in element)


def read_profiles(element: Element) -> tuple[Profile, ...]:
    return tuple(map(_read_profile, element))


def read_named_infos(element: Element) -> tuple[NamedInfo, ...]:
    return tuple(map(_read_named, element))


def read_created_party_registration(element: Element) -> CreatedPartyRegistration:
    fields = Fields(element)
    return CreatedPartyRegistration(
        response=read_response(fields.need(EI_RESPONSE)),
        vtn_id=fields.text(VTN_ID),
        ven_id=fields.optional(VEN_ID),
        registration_id=fields.optional(_REGISTRATION_ID),
        profiles=read_profiles(fields.need(tag("oadr", "oadrProfiles"))),
        poll_interval_s=fields.read(tag("oadr", "oadrRequestedOadrPollFreq"), read_duration),
        services=fields.read(tag("oadr", "oadrServiceSpecificInfo"), read_named_infos) or (),
        extensions=fields.read(tag("oadr", "oadrExtensions"), read_named_infos) or (),
    )


def read_cancel_party_registration(element: Element) -> CancelPartyRegistration:
    fields = Fields(element)
    return CancelPartyRegistration(
        request_id=fields.text(REQUEST_ID),
        registration_id=fields.text(_REGISTRATION_ID),
        ven_id=fields.optional(VEN_ID),
    )


def read_canceled_party_registration(element: Element) -> CanceledPartyRegistration:
    fields = Fields(element)
    return CanceledPartyRegistration(
        response=read_response(fields.need(EI_RESPONSE)),
        registration_id=fields.optional(_REGISTRATION_ID),
        ven_id=fields.optional(VEN_ID),
    )


def read_request_reregistration(element: Element) -> RequestReregistration:
    return RequestReregistration(ven_id=Fields(element).text(VEN_ID))


def read_poll(element: Element) -> Poll:
    return Poll(ven_id=Fields(element).text(VEN_ID))


def read_oadr_response(element: Element) -> Response:
    fields = Fields(element)
    return Response(response=read_response(fields.need(EI_RESPONSE)), ven_id=fields.optional(VEN_ID))
