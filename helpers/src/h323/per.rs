//! Aligned PER (ITU-T X.691), as far as H.323 needs it: walks over an encoding, guided by a
//! description of its type, and notes where endpoints stand in it.
//!
//! PER has no tags: what follows a part is found only by knowing the part. So a [`Type`] describes
//! everything up to the last part that matters, and [`Type::Opaque`] what is behind. Nothing is
//! decoded into values: endpoints stand on whole octets and are replaced where they stand.
//!
//! Promises: no byte outside the encoding is looked at, each step takes at least a bit, nothing is
//! allocated, and recursion is as deep as the descriptions, which are finite. What a newer version
//! has added (an extension) is skipped by its length; what is unreadable inside of such a part is
//! left out, and reading goes on behind it. Fragmented lengths (16 KiB and more) are unreadable:
//! no message here is as long.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use arrayvec::ArrayVec;

/// The most endpoints of one message that are noted; those behind stay as they are.
pub const FOUND_MAX: usize = 128;

/// The type of an encoding, or of a part of it.
#[derive(Debug)]
pub enum Type {
    /// Nothing.
    Null,
    /// So many booleans, one behind the other.
    Flags(usize),
    /// An integer between these.
    Integer(u64, u64),
    /// How many seconds something holds, between these; the value is noted.
    Seconds(u64, u64),
    /// An octet string, without length if that cannot vary.
    Octets(Size),
    /// Characters of so many bits.
    Text(usize, Size),
    /// An object identifier.
    Object,
    /// An object identifier that has to begin with these octets.
    Protocol(&'static [u8]),
    /// An IPv4 address and a port.
    Ip4,
    /// An IPv6 address and a port.
    Ip6,
    /// Fields, one behind the other.
    Sequence(&'static [Field], More),
    /// One of several.
    Choice(&'static [&'static Self], More),
    /// One of so many choices without contents, and of others that were added.
    Kind(u64),
    /// Several of one type.
    List(Size, &'static Self),
    /// An octet string that holds an encoding of its own.
    Encoded(&'static Self),
    /// What is not described: reading ends before it.
    Opaque,
}

/// How many octets, characters or elements there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Any number.
    Any,
    /// Between these.
    Of(u64, u64),
}

/// What may follow the fields or choices of the first version.
#[derive(Debug, Clone, Copy)]
pub enum More {
    /// Nothing.
    Closed,
    /// Additions, of which these matter.
    Open(&'static [Addition]),
}

/// A part of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    need: Need,
    place: Option<Place>,
    of: &'static Type,
}

/// An addition that matters.
#[derive(Debug, Clone, Copy)]
pub struct Addition {
    /// Which one it is, from zero.
    index: usize,
    place: Option<Place>,
    of: &'static Type,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Always,
    Optional,
}

/// A field that is always there.
pub const fn must(of: &'static Type) -> Field {
    Field {
        need: Need::Always,
        place: None,
        of,
    }
}

/// A field that may be left out.
pub const fn may(of: &'static Type) -> Field {
    Field {
        need: Need::Optional,
        ..must(of)
    }
}

/// An addition of this number, from zero.
pub const fn added(index: usize, of: &'static Type) -> Addition {
    Addition {
        index,
        place: None,
        of,
    }
}

impl Field {
    /// The same field, whose endpoints mean this.
    pub const fn at(self, place: Place) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }
}

impl Addition {
    /// The same addition, whose endpoints mean this.
    pub const fn at(self, place: Place) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }
}

/// What an endpoint in a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is named, and nobody is to come there because of it.
    Told,
    /// Calls are taken there, as long as a registration holds.
    Registered,
    /// A call is to go there.
    Called,
    /// Requests of registration, admission and status are taken there.
    Requests,
    /// The control of media is to be connected to there.
    Control,
    /// Media are received there.
    Media,
    /// Reports about media are received there.
    Reports,
    /// Data (T.120) are to be connected to there.
    Data,
}

/// An endpoint in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is for.
    pub place: Place,
    /// Its octets: the address, and two of the port.
    pub at: Range<usize>,
    /// Itself.
    pub endpoint: SocketAddr,
}

/// What a message names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// Its endpoints, in the order in which they stand there.
    pub endpoints: ArrayVec<Found, FOUND_MAX>,
    /// The last [`Type::Seconds`].
    pub seconds: Option<u64>,
}

/// Why reading ends before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// What follows is not described.
    Opaque,
    /// This is no encoding of the type.
    Unreadable,
}

/// Reads an encoding of `of` in `range` of `bytes`.
///
/// # Errors
/// If it is none; then nothing was found.
pub fn find(bytes: &[u8], range: Range<usize>, of: &'static Type) -> Result<Named, Stop> {
    let mut walk = Walk::new(bytes, range);
    match walk.take(of, Place::Told) {
        Ok(()) | Err(Stop::Opaque) => Ok(walk.found),
        Err(Stop::Unreadable) => Err(Stop::Unreadable),
    }
}

/// Which of `root` choices an encoding begins with, counted on behind the last for additions.
///
/// # Errors
/// If it is too short.
pub fn chosen(bytes: &[u8], range: Range<usize>, root: u64) -> Result<u64, Stop> {
    let mut walk = Walk::new(bytes, range);
    Ok(match walk.choice(root, More::Open(&[]))? {
        Chosen::Root(index) => index,
        Chosen::Added(index) => root + index,
    })
}

enum Chosen {
    Root(u64),
    Added(u64),
}

/// A place in an encoding, in bits, and where the encoding ends.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    found: Named,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8], range: Range<usize>) -> Self {
        let end = range.end.min(bytes.len());
        Self {
            bytes,
            at: range.start.min(end) * 8,
            end: end * 8,
            found: Named::default(),
        }
    }

    fn take(&mut self, of: &'static Type, place: Place) -> Result<(), Stop> {
        match of {
            Type::Null => Ok(()),
            Type::Flags(number) => self.skip(*number),
            Type::Integer(low, high) => self.integer(*low, *high).map(drop),
            Type::Seconds(low, high) => {
                self.found.seconds = Some(self.integer(*low, *high)?);
                Ok(())
            }
            Type::Octets(size) => self.octet_string(*size).map(drop),
            Type::Text(bits, size) => self.text(*bits, *size),
            Type::Object => self.octet_string(Size::Any).map(drop),
            Type::Protocol(start) => {
                let octets = self.octet_string(Size::Any)?;
                let begins = self.bytes.get(octets).is_some_and(|o| o.starts_with(start));
                begins.then_some(()).ok_or(Stop::Unreadable)
            }
            Type::Ip4 => self.endpoint::<4>(place, |ip| IpAddr::V4(Ipv4Addr::from(ip))),
            Type::Ip6 => self.endpoint::<16>(place, |ip| IpAddr::V6(Ipv6Addr::from(ip))),
            Type::Sequence(fields, more) => self.sequence(fields, *more, place),
            Type::Choice(choices, more) => self.one_of(choices, *more, place),
            Type::Kind(number) => match self.choice(*number, More::Open(&[]))? {
                Chosen::Root(_) => Ok(()),
                Chosen::Added(_) => self.octet_string(Size::Any).map(drop),
            },
            Type::List(size, element) => {
                let number = self.length(*size)?;
                (0..number).try_for_each(|_| self.take(element, place))
            }
            Type::Encoded(inside) => self.within(inside, place),
            Type::Opaque => Err(Stop::Opaque),
        }
    }

    fn sequence(&mut self, fields: &[Field], more: More, place: Place) -> Result<(), Stop> {
        let extended = self.extended(more)?;
        let mut presence = self.at;
        let optional = fields.iter().filter(|f| f.need == Need::Optional);
        self.skip(optional.count())?;
        for field in fields {
            let there = match field.need {
                Need::Always => true,
                Need::Optional => {
                    presence += 1;
                    self.bit_at(presence - 1)
                }
            };
            if there {
                self.take(field.of, field.place.unwrap_or(place))?;
            }
        }
        match more {
            More::Open(known) if extended => self.additions(known, place),
            More::Open(_) | More::Closed => Ok(()),
        }
    }

    fn additions(&mut self, known: &[Addition], place: Place) -> Result<(), Stop> {
        let number = match self.bit()? {
            false => self.bits(6)? + 1,
            true => self.length(Size::Any)?,
        };
        let number = usize::try_from(number).map_err(|_| Stop::Unreadable)?;
        let presence = self.at;
        self.skip(number)?;
        for index in 0..number {
            if self.bit_at(presence + index) {
                self.addition(known, index, place)?;
            }
        }
        Ok(())
    }

    fn addition(&mut self, known: &[Addition], index: usize, place: Place) -> Result<(), Stop> {
        match known.iter().find(|a| a.index == index) {
            Some(addition) => self.within(addition.of, addition.place.unwrap_or(place)),
            None => self.octet_string(Size::Any).map(drop),
        }
    }

    fn one_of(&mut self, root: &[&'static Type], more: More, place: Place) -> Result<(), Stop> {
        let choices = u64::try_from(root.len()).map_err(|_| Stop::Unreadable)?;
        match (self.choice(choices, more)?, more) {
            (Chosen::Root(index), _) => {
                let index = usize::try_from(index).map_err(|_| Stop::Unreadable)?;
                self.take(root.get(index).ok_or(Stop::Unreadable)?, place)
            }
            (Chosen::Added(index), More::Open(known)) => {
                let index = usize::try_from(index).map_err(|_| Stop::Unreadable)?;
                self.addition(known, index, place)
            }
            (Chosen::Added(_), More::Closed) => Err(Stop::Unreadable),
        }
    }

    fn choice(&mut self, root: u64, more: More) -> Result<Chosen, Stop> {
        if !self.extended(more)? {
            return Ok(Chosen::Root(self.integer(0, root.saturating_sub(1))?));
        }
        Ok(Chosen::Added(match self.bit()? {
            false => self.bits(6)?,
            true => {
                let octets = self.octet_string(Size::Any)?;
                self.number(octets)?
            }
        }))
    }

    fn extended(&mut self, more: More) -> Result<bool, Stop> {
        match more {
            More::Closed => Ok(false),
            More::Open(_) => self.bit(),
        }
    }

    /// An octet string that is an encoding itself. If it is unreadable, nothing is found in it.
    fn within(&mut self, of: &'static Type, place: Place) -> Result<(), Stop> {
        let octets = self.octet_string(Size::Any)?;
        let outside = (self.at, self.end);
        let (before, seconds) = (self.found.endpoints.len(), self.found.seconds);
        (self.at, self.end) = (octets.start * 8, octets.end * 8);
        match self.take(of, place) {
            Ok(()) | Err(Stop::Opaque) => {}
            Err(Stop::Unreadable) => {
                self.found.endpoints.truncate(before);
                self.found.seconds = seconds;
            }
        }
        (self.at, self.end) = outside;
        Ok(())
    }

    fn endpoint<const LEN: usize>(
        &mut self,
        place: Place,
        address: impl Fn([u8; LEN]) -> IpAddr,
    ) -> Result<(), Stop> {
        let at = self.octets(LEN + 2)?;
        let octets = self.bytes.get(at.clone()).ok_or(Stop::Unreadable)?;
        let (ip, port) = octets.split_first_chunk().ok_or(Stop::Unreadable)?;
        let port = port.first_chunk().ok_or(Stop::Unreadable)?;
        let endpoint = SocketAddr::new(address(*ip), u16::from_be_bytes(*port));
        // One too many is not noted, and stays as it is.
        let _ = self.found.endpoints.try_push(Found {
            place,
            at,
            endpoint,
        });
        Ok(())
    }

    fn text(&mut self, bits: usize, size: Size) -> Result<(), Stop> {
        let number = self.length(size)?;
        let number = usize::try_from(number).map_err(|_| Stop::Unreadable)?;
        // Texts of two octets at most would not be aligned; none here is as short.
        self.align();
        self.skip(number.checked_mul(bits).ok_or(Stop::Unreadable)?)
    }

    fn octet_string(&mut self, size: Size) -> Result<Range<usize>, Stop> {
        let number = self.length(size)?;
        let number = usize::try_from(number).map_err(|_| Stop::Unreadable)?;
        self.octets(number)
    }

    /// Whole octets.
    fn octets(&mut self, number: usize) -> Result<Range<usize>, Stop> {
        self.align();
        let start = self.at / 8;
        self.skip(number.checked_mul(8).ok_or(Stop::Unreadable)?)?;
        Ok(start..start + number)
    }

    /// How many there are, X.691 section 11.9.
    fn length(&mut self, size: Size) -> Result<u64, Stop> {
        match size {
            Size::Of(low, high) => self.integer(low, high),
            Size::Any => {
                self.align();
                match self.bits(8)? {
                    short @ 0..=0x7f => Ok(short),
                    long @ 0x80..=0xbf => Ok((long & 0x3f) << 8 | self.bits(8)?),
                    _ => Err(Stop::Unreadable),
                }
            }
        }
    }

    /// An integer within bounds, X.691 section 11.5.
    fn integer(&mut self, low: u64, high: u64) -> Result<u64, Stop> {
        let span = high.checked_sub(low).ok_or(Stop::Unreadable)?;
        let above = match span {
            0 => 0,
            1..=0xfe => self.bits(span.ilog2() + 1)?,
            0xff => {
                self.align();
                self.bits(8)?
            }
            0x100..=0xffff => {
                self.align();
                self.bits(16)?
            }
            _ => {
                let most = u64::from(span.ilog2() / 8 + 1);
                let number = self.bits((most - 1).ilog2() + 1)? + 1;
                let number = usize::try_from(number).map_err(|_| Stop::Unreadable)?;
                let octets = self.octets(number)?;
                self.number(octets)?
            }
        };
        (above <= span)
            .then_some(low + above)
            .ok_or(Stop::Unreadable)
    }

    fn number(&self, octets: Range<usize>) -> Result<u64, Stop> {
        let octets = self.bytes.get(octets).ok_or(Stop::Unreadable)?;
        let fits = octets.len() <= 8;
        fits.then(|| octets.iter().fold(0, |n, octet| n << 8 | u64::from(*octet)))
            .ok_or(Stop::Unreadable)
    }

    fn bit(&mut self) -> Result<bool, Stop> {
        self.skip(1)?;
        Ok(self.bit_at(self.at - 1))
    }

    fn bits(&mut self, number: u32) -> Result<u64, Stop> {
        let mut value = 0;
        for _ in 0..number {
            value = value << 1 | u64::from(self.bit()?);
        }
        Ok(value)
    }

    /// A bit that has been skipped.
    fn bit_at(&self, at: usize) -> bool {
        let octet = self.bytes.get(at / 8).copied().unwrap_or(0);
        octet >> (7 - at % 8) & 1 == 1
    }

    const fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    fn skip(&mut self, bits: usize) -> Result<(), Stop> {
        let at = self.at.checked_add(bits).ok_or(Stop::Unreadable)?;
        (at <= self.end).then_some(()).ok_or(Stop::Unreadable)?;
        self.at = at;
        Ok(())
    }
}

#[cfg(test)]
impl Field {
    pub const fn of(&self) -> &'static Type {
        self.of
    }

    pub const fn place(&self) -> Option<Place> {
        self.place
    }

    pub fn optional(&self) -> bool {
        self.need == Need::Optional
    }
}

#[cfg(test)]
impl Addition {
    pub const fn of(&self) -> &'static Type {
        self.of
    }

    pub const fn place(&self) -> Option<Place> {
        self.place
    }

    pub const fn index(&self) -> usize {
        self.index
    }
}
