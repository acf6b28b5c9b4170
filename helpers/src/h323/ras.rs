//! What H.225.0 says of registration, admission and status (RAS): its messages with endpoints, as
//! far as these stand in them.

use super::h225::{
    ADDRESS, ADDRESSES, ALIASES, CALL_TYPE, CONFERENCE, ENDPOINT_TYPE, NON_STANDARD, OPEN,
    PROTOCOL, Q_SERIES, VENDOR,
};
use super::per::Place::{Called, Registered, Requests, Told};
use super::per::Size::{Any, Of};
use super::per::Type::{self, Choice, Flags, Integer, Kind, List, Opaque, Seconds, Sequence, Text};
use super::per::{More, added, may, must};

/// How many messages there were in the first version.
pub const MESSAGES: u64 = 25;
/// Which of them asks for a registration.
pub const REGISTRATION_REQUEST: u64 = 3;
/// Which one grants it.
pub const REGISTRATION_CONFIRM: u64 = 4;
/// Which one does not.
pub const REGISTRATION_REJECT: u64 = 5;
/// Which one ends it.
pub const UNREGISTRATION_CONFIRM: u64 = 7;

/// `RasMessage`
pub static MESSAGE: Type = Choice(
    &[
        &GATEKEEPER_REQUEST,
        &GATEKEEPER_CONFIRM,
        &GATEKEEPER_REJECT,
        &REQUEST,
        &CONFIRM,
        &REJECT,
        &UNREGISTRATION_REQUEST,
        // unregistrationConfirm, unregistrationReject
        &Opaque,
        &Opaque,
        &ADMISSION_REQUEST,
        &ADMISSION_CONFIRM,
        &ADMISSION_REJECT,
        // bandwidth and disengage: request, confirm and reject
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &LOCATION_REQUEST,
        &LOCATION_CONFIRM,
        // locationReject
        &Opaque,
        &INFO_REQUEST,
        &INFO_REQUEST_RESPONSE,
        // nonStandardMessage, unknownMessageResponse
        &Opaque,
        &Opaque,
    ],
    // admissionConfirmSequence
    More::Open(&[added(7, &List(Any, &ADMISSION_CONFIRM))]),
);

/// `RequestSeqNum`
static NUMBER: Type = Integer(1, 65_535);
/// `GatekeeperIdentifier` and `EndpointIdentifier`
static IDENTIFIER: Type = Text(16, Of(1, 128));
/// `BandWidth`
static BANDWIDTH: Type = Integer(0, 4_294_967_295);
/// `CallReferenceValue`
static CALL_REFERENCE: Type = Integer(0, 65_535);
/// `TimeToLive`
static TIME_TO_LIVE: Type = Seconds(1, 4_294_967_295);

/// `AlternateGK`
static ALTERNATE_GATEKEEPER: Type = Sequence(
    &[
        must(&ADDRESS).at(Requests),
        may(&IDENTIFIER),
        must(&Flags(1)),
        must(&Integer(0, 127)),
    ],
    OPEN,
);
static ALTERNATE_GATEKEEPERS: Type = List(Any, &ALTERNATE_GATEKEEPER);
/// `AltGKInfo`
static ALTERNATES: Type = Sequence(&[must(&ALTERNATE_GATEKEEPERS), must(&Flags(1))], OPEN);

static GATEKEEPER_REQUEST: Type = Sequence(
    &[
        must(&NUMBER),
        must(&PROTOCOL),
        may(&NON_STANDARD),
        must(&ADDRESS).at(Requests),
        must(&ENDPOINT_TYPE),
        may(&IDENTIFIER),
        may(&Q_SERIES),
        may(&ALIASES),
    ],
    OPEN,
);

static GATEKEEPER_CONFIRM: Type = Sequence(
    &[
        must(&NUMBER),
        must(&PROTOCOL),
        may(&NON_STANDARD),
        may(&IDENTIFIER),
        must(&ADDRESS).at(Requests),
    ],
    More::Open(&[
        added(0, &ALTERNATE_GATEKEEPERS),
        added(9, &ALTERNATE_GATEKEEPER),
    ]),
);

static GATEKEEPER_REJECT: Type = Sequence(
    &[
        must(&NUMBER),
        must(&PROTOCOL),
        may(&NON_STANDARD),
        may(&IDENTIFIER),
        must(&Kind(4)),
    ],
    More::Open(&[added(0, &ALTERNATES)]),
);

/// `RegistrationRequest`
static REQUEST: Type = Sequence(
    &[
        must(&NUMBER),
        must(&PROTOCOL),
        may(&NON_STANDARD),
        must(&Flags(1)),
        must(&ADDRESSES).at(Registered),
        must(&ADDRESSES).at(Requests),
        must(&ENDPOINT_TYPE),
        may(&ALIASES),
        may(&IDENTIFIER),
        must(&VENDOR),
    ],
    More::Open(&[added(1, &TIME_TO_LIVE)]),
);

/// `RegistrationConfirm`
static CONFIRM: Type = Sequence(
    &[
        must(&NUMBER),
        must(&PROTOCOL),
        may(&NON_STANDARD),
        must(&ADDRESSES).at(Registered),
        may(&ALIASES),
        may(&IDENTIFIER),
        must(&IDENTIFIER),
    ],
    More::Open(&[
        added(0, &ALTERNATE_GATEKEEPERS),
        added(1, &TIME_TO_LIVE),
        // assignedGatekeeper
        added(17, &ALTERNATE_GATEKEEPER),
    ]),
);

/// `RegistrationReject`
static REJECT: Type = Sequence(
    &[
        must(&NUMBER),
        must(&PROTOCOL),
        may(&NON_STANDARD),
        must(&REJECT_REASON),
        may(&IDENTIFIER),
    ],
    More::Open(&[added(0, &ALTERNATES)]),
);

/// `RegistrationRejectReason`, of which one has contents: aliases that are taken.
static REJECT_REASON: Type = Choice(
    &[
        &Type::Null,
        &Type::Null,
        &Type::Null,
        &Type::Null,
        &ALIASES,
        &Type::Null,
        &Type::Null,
        &Type::Null,
    ],
    OPEN,
);

static UNREGISTRATION_REQUEST: Type = Sequence(
    &[
        must(&NUMBER),
        must(&ADDRESSES).at(Told),
        may(&ALIASES),
        may(&NON_STANDARD),
        may(&IDENTIFIER),
    ],
    OPEN,
);

static ADMISSION_REQUEST: Type = Sequence(
    &[
        must(&NUMBER),
        must(&CALL_TYPE),
        may(&CALL_MODEL),
        must(&IDENTIFIER),
        may(&ALIASES),
        // destCallSignalAddress
        may(&ADDRESS).at(Told),
        may(&ALIASES),
        must(&ALIASES),
        // srcCallSignalAddress
        may(&ADDRESS).at(Told),
        must(&BANDWIDTH),
        must(&CALL_REFERENCE),
        may(&NON_STANDARD),
        may(&Q_SERIES),
        must(&CONFERENCE),
        must(&Flags(2)),
    ],
    OPEN,
);

/// `CallModel`
static CALL_MODEL: Type = Kind(2);

static ADMISSION_CONFIRM: Type = Sequence(
    &[
        must(&NUMBER),
        must(&BANDWIDTH),
        must(&CALL_MODEL),
        // destCallSignalAddress
        must(&ADDRESS).at(Called),
        may(&Integer(1, 65_535)),
        may(&NON_STANDARD),
    ],
    OPEN,
);

static ADMISSION_REJECT: Type = Sequence(
    &[must(&NUMBER), must(&Kind(8)), may(&NON_STANDARD)],
    More::Open(&[
        added(0, &ALTERNATES),
        // callSignalAddress, of the gatekeeper that the call is to go through
        added(3, &ADDRESSES).at(Called),
    ]),
);

static LOCATION_REQUEST: Type = Sequence(
    &[
        must(&NUMBER),
        may(&IDENTIFIER),
        must(&ALIASES),
        may(&NON_STANDARD),
        // replyAddress
        must(&ADDRESS).at(Requests),
    ],
    OPEN,
);

static LOCATION_CONFIRM: Type = Sequence(
    &[
        must(&NUMBER),
        must(&ADDRESS).at(Called),
        must(&ADDRESS).at(Requests),
        may(&NON_STANDARD),
    ],
    OPEN,
);

static INFO_REQUEST: Type = Sequence(
    &[
        must(&NUMBER),
        must(&CALL_REFERENCE),
        may(&NON_STANDARD),
        // replyAddress
        may(&ADDRESS).at(Requests),
    ],
    OPEN,
);

static INFO_REQUEST_RESPONSE: Type = Sequence(
    &[
        may(&NON_STANDARD),
        must(&NUMBER),
        must(&ENDPOINT_TYPE),
        must(&IDENTIFIER),
        must(&ADDRESS).at(Requests),
        must(&ADDRESSES).at(Told),
        may(&ALIASES),
        // perCallInfo
        may(&Opaque),
    ],
    OPEN,
);
