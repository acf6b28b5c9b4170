//! What H.245 says of opening channels: the types of its module MULTIMEDIA-SYSTEM-CONTROL, version
//! 13 of 2006, as far as endpoints stand in them or before them.
//!
//! Multiplexing over ATM and modems (H.222, H.223, V.76) has no endpoints and is not described.

use super::h225::{CLOSED, DIGITS, OPEN, PAIR_OF_OCTETS};
use super::per::Place::{Called, Data, Media, Reports};
use super::per::Size::{Any, Of};
use super::per::Type::{
    self, Choice, Flags, Integer, Ip4, Ip6, Kind, List, Null, Object, Octets, Opaque, Sequence,
    Text,
};
use super::per::{More, added, may, must};

/// `MultimediaSystemControlMessage`
pub static MESSAGE: Type = Choice(&[&REQUEST, &RESPONSE, &COMMAND, &INDICATION], OPEN);

static REQUEST: Type = Choice(
    &[
        &Opaque,
        &Opaque,
        &Opaque,
        &OPEN_CHANNEL,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
    ],
    OPEN,
);

static RESPONSE: Type = Choice(
    &[
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &OPEN_CHANNEL_ACK,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
        &Opaque,
    ],
    // communicationModeResponse
    More::Open(&[added(0, &Choice(&[&MODES], OPEN))]),
);

static COMMAND: Type = Choice(
    &[
        &Opaque, &Opaque, &Opaque, &Opaque, &Opaque, &Opaque, &Opaque,
    ],
    // communicationModeCommand
    More::Open(&[added(0, &Sequence(&[must(&MODES)], OPEN))]),
);

static INDICATION: Type = Choice(
    &[
        &Opaque, &Opaque, &Opaque, &Opaque, &Opaque, &Opaque, &Opaque, &Opaque, &Opaque, &Opaque,
        &Opaque, &Opaque, &Opaque, &Opaque,
    ],
    // mcLocationIndication
    More::Open(&[added(1, &Sequence(&[must(&ADDRESS).at(Called)], OPEN))]),
);

/// `OpenLogicalChannel`
pub static OPEN_CHANNEL: Type = Sequence(
    &[
        must(&CHANNEL_NUMBER),
        // forwardLogicalChannelParameters
        must(&Sequence(
            &[
                may(&Integer(0, 65_535)),
                must(&DATA_TYPE),
                must(&Choice(
                    &[&Opaque, &Opaque, &Opaque],
                    More::Open(&[added(0, &CHANNEL), added(1, &Null)]),
                )),
            ],
            OPEN,
        )),
        // reverseLogicalChannelParameters
        may(&Sequence(
            &[
                must(&DATA_TYPE),
                may(&Choice(
                    &[&Opaque, &Opaque],
                    More::Open(&[added(0, &CHANNEL)]),
                )),
            ],
            OPEN,
        )),
    ],
    // separateStack
    More::Open(&[added(0, &NETWORK_ACCESS).at(Data)]),
);

/// `OpenLogicalChannelAck`
static OPEN_CHANNEL_ACK: Type = Sequence(
    &[
        must(&CHANNEL_NUMBER),
        // reverseLogicalChannelParameters
        may(&Sequence(
            &[
                must(&CHANNEL_NUMBER),
                may(&Integer(0, 65_535)),
                may(&Choice(&[&Opaque], More::Open(&[added(0, &CHANNEL)]))),
            ],
            OPEN,
        )),
    ],
    More::Open(&[
        // separateStack, forwardMultiplexAckParameters
        added(0, &NETWORK_ACCESS).at(Data),
        added(1, &Choice(&[&CHANNEL_ACK], OPEN)),
    ]),
);

/// `LogicalChannelNumber`
static CHANNEL_NUMBER: Type = Integer(1, 65_535);

/// `H2250LogicalChannelParameters`
static CHANNEL: Type = Sequence(
    &[
        may(&List(Any, &NON_STANDARD)),
        must(&Integer(0, 255)),
        may(&Integer(1, 255)),
        may(&ADDRESS).at(Media),
        may(&Flags(1)),
        may(&ADDRESS).at(Reports),
        may(&Flags(1)),
        may(&Flags(1)),
        // destination, dynamicRTPPayloadType, mediaPacketization
        may(&TERMINAL),
        may(&Integer(96, 127)),
        may(&Kind(1)),
    ],
    OPEN,
);

/// `H2250LogicalChannelAckParameters`
static CHANNEL_ACK: Type = Sequence(
    &[
        may(&List(Any, &NON_STANDARD)),
        may(&Integer(1, 255)),
        may(&ADDRESS).at(Media),
        may(&ADDRESS).at(Reports),
        may(&Integer(96, 127)),
    ],
    OPEN,
);

/// `NetworkAccessParameters`
static NETWORK_ACCESS: Type = Sequence(
    &[
        may(&Kind(2)),
        // networkAddress
        must(&Choice(&[&Q2931_ADDRESS, &DIGITS, &ADDRESS], OPEN)),
        must(&Flags(1)),
        may(&Octets(Of(1, 255))),
    ],
    OPEN,
);

/// `Q2931Address`
static Q2931_ADDRESS: Type = Sequence(
    &[
        must(&Choice(&[&Text(4, Of(1, 16)), &Octets(Of(1, 20))], OPEN)),
        may(&Octets(Of(1, 20))),
    ],
    OPEN,
);

/// `SET SIZE (1..256) OF CommunicationModeTableEntry`
static MODES: Type = List(Of(1, 256), &MODE);
static MODE: Type = Sequence(
    &[
        may(&List(Any, &NON_STANDARD)),
        must(&Integer(1, 255)),
        may(&Integer(1, 255)),
        may(&TERMINAL),
        must(&Text(16, Of(1, 128))),
        must(&Choice(&[&VIDEO, &AUDIO, &DATA], OPEN)),
        may(&ADDRESS).at(Media),
        may(&Flags(1)),
        may(&ADDRESS).at(Reports),
        may(&Flags(1)),
    ],
    OPEN,
);

/// `TerminalLabel`
static TERMINAL: Type = Sequence(&[must(&Integer(0, 192)), must(&Integer(0, 192))], OPEN);

/// `TransportAddress`
static ADDRESS: Type = Choice(&[&UNICAST, &MULTICAST], OPEN);

static UNICAST: Type = Choice(
    &[
        &Sequence(&[must(&Ip4)], OPEN),
        // iPXAddress
        &Sequence(
            &[
                must(&Octets(Of(6, 6))),
                must(&Octets(Of(4, 4))),
                must(&PAIR_OF_OCTETS),
            ],
            OPEN,
        ),
        &Sequence(&[must(&Ip6)], OPEN),
        // netBios
        &Octets(Of(16, 16)),
        // iPSourceRouteAddress
        &Sequence(
            &[
                must(&Flags(1)),
                must(&Ip4),
                must(&List(Any, &Octets(Of(4, 4)))),
            ],
            OPEN,
        ),
    ],
    OPEN,
);

static MULTICAST: Type = Choice(
    &[
        &Sequence(&[must(&Ip4)], OPEN),
        &Sequence(&[must(&Ip6)], OPEN),
    ],
    OPEN,
);

/// `NonStandardParameter`, which is not that of H.225.0: nothing can be added.
static NON_STANDARD: Type = Sequence(
    &[
        must(&Choice(
            &[
                &Object,
                &Sequence(
                    &[
                        must(&Integer(0, 255)),
                        must(&Integer(0, 255)),
                        must(&Integer(0, 65_535)),
                    ],
                    CLOSED,
                ),
            ],
            CLOSED,
        )),
        must(&Octets(Any)),
    ],
    CLOSED,
);

/// `DataType`
static DATA_TYPE: Type = Choice(
    &[
        &NON_STANDARD,
        &Null,
        &VIDEO,
        &AUDIO,
        &DATA,
        // encryptionData
        &Choice(&[&NON_STANDARD, &Null], OPEN),
    ],
    OPEN,
);

/// `VideoCapability`
static VIDEO: Type = Choice(&[&NON_STANDARD, &H261, &H262, &H263, &IS11172], OPEN);

static H261: Type = Sequence(
    &[
        may(&Integer(1, 4)),
        may(&Integer(1, 4)),
        must(&Flags(1)),
        must(&Integer(1, 19_200)),
        must(&Flags(1)),
    ],
    OPEN,
);

static H262: Type = Sequence(
    &[
        must(&Flags(11)),
        may(&Integer(0, 1_073_741_823)),
        may(&Integer(0, 262_143)),
        may(&Integer(0, 16_383)),
        may(&Integer(0, 16_383)),
        may(&Integer(0, 15)),
        may(&Integer(0, 4_294_967_295)),
    ],
    OPEN,
);

static H263: Type = Sequence(
    &[
        may(&Integer(1, 32)),
        may(&Integer(1, 32)),
        may(&Integer(1, 32)),
        may(&Integer(1, 32)),
        may(&Integer(1, 32)),
        must(&Integer(1, 192_400)),
        must(&Flags(5)),
        may(&Integer(0, 524_287)),
        may(&Integer(0, 65_535)),
    ],
    OPEN,
);

static IS11172: Type = Sequence(
    &[
        must(&Flags(1)),
        may(&Integer(0, 1_073_741_823)),
        may(&Integer(0, 262_143)),
        may(&Integer(0, 16_383)),
        may(&Integer(0, 16_383)),
        may(&Integer(0, 15)),
        may(&Integer(0, 4_294_967_295)),
    ],
    OPEN,
);

/// `AudioCapability`
static AUDIO: Type = Choice(
    &[
        &NON_STANDARD,
        // g711Alaw64k to g722-48k
        &FRAMES,
        &FRAMES,
        &FRAMES,
        &FRAMES,
        &FRAMES,
        &FRAMES,
        &FRAMES,
        // g7231
        &Sequence(&[must(&FRAMES), must(&Flags(1))], CLOSED),
        // g728, g729, g729AnnexA
        &FRAMES,
        &FRAMES,
        &FRAMES,
        // is11172AudioCapability, is13818AudioCapability
        &Sequence(&[must(&Flags(8)), must(&Integer(1, 448))], OPEN),
        &Sequence(&[must(&Flags(20)), must(&Integer(1, 1_130))], OPEN),
    ],
    OPEN,
);
/// How many frames a packet holds.
static FRAMES: Type = Integer(1, 256);

/// `DataApplicationCapability`
static DATA: Type = Sequence(
    &[
        must(&Choice(
            &[
                &NON_STANDARD,
                // t120, dsm-cc, userData
                &DATA_PROTOCOL,
                &DATA_PROTOCOL,
                &DATA_PROTOCOL,
                // t84
                &Sequence(
                    &[
                        must(&DATA_PROTOCOL),
                        must(&Choice(
                            &[&Null, &Sequence(&[must(&Flags(19))], OPEN)],
                            CLOSED,
                        )),
                    ],
                    CLOSED,
                ),
                // t434, h224
                &DATA_PROTOCOL,
                &DATA_PROTOCOL,
                // nlpid
                &Sequence(&[must(&DATA_PROTOCOL), must(&Octets(Any))], CLOSED),
                // dsvdControl, h222DataPartitioning
                &Null,
                &DATA_PROTOCOL,
            ],
            OPEN,
        )),
        must(&Integer(0, 4_294_967_295)),
    ],
    OPEN,
);

/// `DataProtocolCapability`
static DATA_PROTOCOL: Type = Choice(
    &[&NON_STANDARD, &Null, &Null, &Null, &Null, &Null, &Null],
    OPEN,
);
