//! What H.225.0 says of call signalling: the types of its module H323-MESSAGES, version 7 of 2009,
//! as far as endpoints stand in them or before them.
//!
//! The names are those of the Recommendation. Older versions read the same: what came later is an
//! addition. Numbers of additions are their positions behind the `...` of the module.

use super::h245;
use super::per::Place::{Called, Control, Told};
use super::per::Size::{Any, Of};
use super::per::Type::{
    self, Choice, Encoded, Flags, Integer, Ip4, Ip6, Kind, List, Null, Object, Octets, Opaque,
    Protocol, Sequence, Text,
};
use super::per::{More, added, may, must};

/// Additions of which none matters.
pub const OPEN: More = More::Open(&[]);
/// No additions.
pub const CLOSED: More = More::Closed;

/// `{itu-t recommendation h 2250 version}`, as an object identifier begins.
pub static PROTOCOL: Type = Protocol(&[0, 8, 0x91, 0x4a, 0]);

/// `TransportAddress`
pub static ADDRESS: Type = Choice(
    &[
        &Sequence(&[must(&Ip4)], CLOSED),
        // ipSourceRoute
        &Sequence(
            &[
                must(&Ip4),
                must(&List(Any, &Octets(Of(4, 4)))),
                must(&Kind(2)),
            ],
            OPEN,
        ),
        // ipxAddress
        &Sequence(
            &[
                must(&Octets(Of(6, 6))),
                must(&Octets(Of(4, 4))),
                must(&PAIR_OF_OCTETS),
            ],
            CLOSED,
        ),
        &Sequence(&[must(&Ip6)], OPEN),
        // netBios, nsap, nonStandardAddress
        &Octets(Of(16, 16)),
        &Octets(Of(1, 20)),
        &NON_STANDARD,
    ],
    OPEN,
);
pub static ADDRESSES: Type = List(Any, &ADDRESS);

/// An octet string of two is a field of bits, not aligned (X.691 section 17.6).
pub static PAIR_OF_OCTETS: Type = Flags(16);

/// `AliasAddress`: digits and names, and an endpoint as a name.
pub static ALIAS: Type = Choice(
    &[&DIGITS, &Text(16, Of(1, 256))],
    More::Open(&[added(1, &ADDRESS).at(Told)]),
);
pub static ALIASES: Type = List(Any, &ALIAS);
pub static DIGITS: Type = Text(4, Of(1, 128));

/// `NonStandardParameter`
pub static NON_STANDARD: Type = Sequence(
    &[
        must(&Choice(&[&Object, &MANUFACTURER], OPEN)),
        must(&Octets(Any)),
    ],
    CLOSED,
);

/// `H221NonStandard`
static MANUFACTURER: Type = Sequence(
    &[
        must(&Integer(0, 255)),
        must(&Integer(0, 255)),
        must(&Integer(0, 65_535)),
    ],
    OPEN,
);

/// `VendorIdentifier`
pub static VENDOR: Type = Sequence(
    &[
        must(&MANUFACTURER),
        may(&Octets(Of(1, 256))),
        may(&Octets(Of(1, 256))),
    ],
    OPEN,
);

/// `EndpointType`
pub static ENDPOINT_TYPE: Type = Sequence(
    &[
        may(&NON_STANDARD),
        may(&VENDOR),
        // gatekeeper
        may(&NOTHING_STANDARD),
        // gateway
        may(&Sequence(
            &[may(&List(Any, &SUPPORTED_PROTOCOL)), may(&NON_STANDARD)],
            OPEN,
        )),
        // mcu, terminal
        may(&NOTHING_STANDARD),
        may(&NOTHING_STANDARD),
        must(&Flags(2)),
    ],
    OPEN,
);

/// What `GatekeeperInfo`, `McuInfo`, `TerminalInfo` and the capabilities of gateways were in their
/// first version.
static NOTHING_STANDARD: Type = Sequence(&[may(&NON_STANDARD)], OPEN);

/// `SupportedProtocols`
static SUPPORTED_PROTOCOL: Type = Choice(
    &[
        &NON_STANDARD,
        &NOTHING_STANDARD,
        &NOTHING_STANDARD,
        &NOTHING_STANDARD,
        &NOTHING_STANDARD,
        &NOTHING_STANDARD,
        &NOTHING_STANDARD,
        &NOTHING_STANDARD,
        &NOTHING_STANDARD,
    ],
    OPEN,
);

/// `QseriesOptions`
pub static Q_SERIES: Type = Sequence(
    &[must(&Flags(7)), must(&Sequence(&[must(&Flags(2))], OPEN))],
    OPEN,
);

/// `ConferenceIdentifier`
pub static CONFERENCE: Type = Octets(Of(16, 16));
/// `CallType`
pub static CALL_TYPE: Type = Kind(4);

/// The OpenLogicalChannels of a fast start.
static FAST_START: Type = List(Any, &Encoded(&h245::OPEN_CHANNEL));
/// Messages of H.245 inside of call signalling.
static TUNNELLED: Type = List(Any, &Encoded(&h245::MESSAGE));

/// `H323-UserInformation`, the contents of the User-user element.
pub static USER_INFORMATION: Type = Sequence(
    &[
        must(&Sequence(
            &[must(&BODY), may(&NON_STANDARD)],
            // h245Control
            More::Open(&[added(2, &TUNNELLED)]),
        )),
        may(&Opaque),
    ],
    OPEN,
);

/// `h323-message-body`
static BODY: Type = Choice(
    &[
        &SETUP,
        &CALL_PROCEEDING,
        &CONNECT,
        &ALERTING,
        &INFORMATION,
        &RELEASE_COMPLETE,
        &FACILITY,
    ],
    More::Open(&[added(0, &PROGRESS), added(1, &Null)]),
);

static SETUP: Type = Sequence(
    &[
        must(&PROTOCOL),
        may(&ADDRESS).at(Control),
        may(&ALIASES),
        must(&ENDPOINT_TYPE),
        may(&ALIASES),
        // destCallSignalAddress
        may(&ADDRESS).at(Told),
        may(&ALIASES),
        // destExtraCRV
        may(&List(Any, &Integer(0, 65_535))),
        must(&Flags(1)),
        must(&CONFERENCE),
        // conferenceGoal
        must(&Kind(3)),
        may(&Q_SERIES),
        must(&CALL_TYPE),
    ],
    More::Open(&[
        // sourceCallSignalAddress
        added(0, &ADDRESS).at(Told),
        added(6, &FAST_START),
        // parallelH245Control
        added(24, &TUNNELLED),
    ]),
);

static CALL_PROCEEDING: Type = Sequence(
    &[
        must(&PROTOCOL),
        must(&ENDPOINT_TYPE),
        may(&ADDRESS).at(Control),
    ],
    More::Open(&[added(4, &FAST_START)]),
);

/// The same as far as it matters.
static ALERTING: Type = Sequence(
    &[
        must(&PROTOCOL),
        must(&ENDPOINT_TYPE),
        may(&ADDRESS).at(Control),
    ],
    More::Open(&[added(4, &FAST_START)]),
);

static CONNECT: Type = Sequence(
    &[
        must(&PROTOCOL),
        may(&ADDRESS).at(Control),
        must(&ENDPOINT_TYPE),
        must(&CONFERENCE),
    ],
    More::Open(&[added(4, &FAST_START)]),
);

static INFORMATION: Type = Sequence(&[must(&PROTOCOL)], More::Open(&[added(3, &FAST_START)]));

static RELEASE_COMPLETE: Type = Sequence(&[must(&PROTOCOL), may(&Kind(12))], OPEN);

static FACILITY: Type = Sequence(
    &[
        must(&PROTOCOL),
        // alternativeAddress
        may(&ADDRESS).at(Called),
        may(&ALIASES),
        may(&CONFERENCE),
        must(&Kind(4)),
    ],
    More::Open(&[added(6, &ADDRESS).at(Control), added(7, &FAST_START)]),
);

static PROGRESS: Type = Sequence(
    &[
        must(&PROTOCOL),
        must(&ENDPOINT_TYPE),
        may(&ADDRESS).at(Control),
        // callIdentifier
        must(&Sequence(&[must(&CONFERENCE)], OPEN)),
        // h245SecurityMode, tokens and cryptoTokens
        may(&Opaque),
        may(&Opaque),
        may(&Opaque),
        may(&FAST_START),
    ],
    OPEN,
);
