//! Makes encodings of described types at random, and says where their endpoints are.

use std::ops::Range;

use super::super::per::{Found, More, Place, Size, Type};

/// An encoding in the making.
#[derive(Debug, Default)]
pub struct Encoding {
    bits: Vec<bool>,
    /// Where endpoints stand.
    pub endpoints: Vec<(Place, Range<usize>)>,
}

/// A source of numbers that is the same each time (xorshift).
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

impl Encoding {
    /// Its octets, padded.
    pub fn octets(&self) -> Vec<u8> {
        let octet = |bits: &[bool]| {
            let value = bits.iter().fold(0, |v: u8, b| v << 1 | u8::from(*b));
            value << (8 - bits.len())
        };
        // An encoding has one octet at least (X.691 section 11.1.3).
        let octets: Vec<u8> = self.bits.chunks(8).map(octet).collect();
        if octets.is_empty() { vec![0] } else { octets }
    }

    /// Appends a value of the type. What is not described is not chosen.
    pub fn add(&mut self, of: &'static Type, place: Place, dice: &mut Dice) {
        match of {
            Type::Null => {}
            Type::Flags(number) => (0..*number).for_each(|_| self.bits.push(dice.coin())),
            Type::Integer(low, high) | Type::Seconds(low, high) => {
                let value = low + dice.below(high - low + 1);
                self.integer(value, *low, *high);
            }
            Type::Octets(size) => {
                let octets: Vec<u8> = (0..some(*size, dice)).map(|n| n as u8).collect();
                self.octet_string(&octets, *size);
            }
            Type::Text(bits, size) => {
                let number = some(*size, dice);
                self.length(number, *size);
                self.align();
                for _ in 0..number {
                    // A digit of the alphabet, or a letter.
                    let character = if *bits == 4 { dice.below(10) } else { 0x41 };
                    self.number(character, *bits as u32);
                }
            }
            Type::Object => self.octet_string(&[0, 8, 1], Size::Any),
            Type::Protocol(start) => self.octet_string(&[start, &[4][..]].concat(), Size::Any),
            Type::Ip4 => self.endpoint(4, place, dice),
            Type::Ip6 => self.endpoint(16, place, dice),
            Type::Sequence(fields, more) => {
                let there: Vec<bool> = fields
                    .iter()
                    .map(|f| !f.optional() || (dice.coin() && described(f.of())))
                    .collect();
                let added = self.extend(*more, dice);
                for (field, there) in fields.iter().zip(&there) {
                    if field.optional() {
                        self.bits.push(*there);
                    }
                }
                for (field, there) in fields.iter().zip(there) {
                    if there {
                        self.add(field.of(), field.place().unwrap_or(place), dice);
                    }
                }
                if let (More::Open(known), Some(number)) = (*more, added) {
                    self.additions(known, number, place, dice);
                }
            }
            Type::Choice(root, more) => self.choice(root, *more, place, dice),
            Type::Kind(number) => {
                self.bits.push(false);
                self.integer(dice.below(*number), 0, number - 1);
            }
            Type::List(size, element) => {
                let number = some(*size, dice);
                self.length(number, *size);
                (0..number).for_each(|_| self.add(element, place, dice));
            }
            Type::Encoded(inside) => self.within(inside, place, dice),
            Type::Opaque => panic!("not described"),
        }
    }

    /// Says whether a sequence is extended, and how many additions there are then.
    fn extend(&mut self, more: More, dice: &mut Dice) -> Option<usize> {
        let More::Open(known) = more else {
            return None;
        };
        let number = known.iter().map(|a| a.index() + 1).max();
        let number = number.filter(|_| dice.coin());
        self.bits.push(number.is_some());
        number
    }

    fn additions(
        &mut self,
        known: &'static [super::super::per::Addition],
        number: usize,
        place: Place,
        dice: &mut Dice,
    ) {
        self.bits.push(false);
        self.number(number as u64 - 1, 6);
        let there: Vec<bool> = (0..number)
            .map(|n| known.iter().any(|a| a.index() == n) && (dice.coin() || n + 1 == number))
            .collect();
        self.bits.extend(&there);
        for addition in known.iter().filter(|a| there[a.index()]) {
            self.within(addition.of(), addition.place().unwrap_or(place), dice);
        }
    }

    fn choice(
        &mut self,
        root: &'static [&'static Type],
        more: More,
        place: Place,
        dice: &mut Dice,
    ) {
        let choices: Vec<usize> = (0..root.len()).filter(|n| described(root[*n])).collect();
        let added = match more {
            More::Open(known) => known,
            More::Closed => &[],
        };
        let pick = dice.below((choices.len() + added.len()) as u64) as usize;
        if let More::Open(_) = more {
            self.bits.push(pick >= choices.len());
        }
        if let Some(index) = choices.get(pick) {
            self.integer(*index as u64, 0, root.len() as u64 - 1);
            return self.add(root[*index], place, dice);
        }
        let addition = &added[pick - choices.len()];
        self.bits.push(false);
        self.number(addition.index() as u64, 6);
        self.within(addition.of(), addition.place().unwrap_or(place), dice);
    }

    fn within(&mut self, of: &'static Type, place: Place, dice: &mut Dice) {
        let mut inside = Self::default();
        inside.add(of, place, dice);
        let octets = inside.octets();
        self.octet_string(&octets, Size::Any);
        let start = self.bits.len() / 8 - octets.len();
        let shifted =
            |(place, at): (Place, Range<usize>)| (place, at.start + start..at.end + start);
        self.endpoints
            .extend(inside.endpoints.into_iter().map(shifted));
    }

    fn endpoint(&mut self, len: usize, place: Place, dice: &mut Dice) {
        self.align();
        let start = self.bits.len() / 8;
        (0..len + 2).for_each(|_| self.number(1 + dice.below(0xdf), 8));
        self.endpoints.push((place, start..start + len + 2));
    }

    fn octet_string(&mut self, octets: &[u8], size: Size) {
        self.length(octets.len() as u64, size);
        self.align();
        octets.iter().for_each(|o| self.number(u64::from(*o), 8));
    }

    fn length(&mut self, number: u64, size: Size) {
        match size {
            Size::Of(low, high) => self.integer(number, low, high),
            Size::Any => {
                self.align();
                match number {
                    0..0x80 => self.number(number, 8),
                    _ => self.number(0x8000 | number, 16),
                }
            }
        }
    }

    fn integer(&mut self, value: u64, low: u64, high: u64) {
        let (above, span) = (value - low, high - low);
        match span {
            0 => {}
            1..255 => self.number(above, span.ilog2() + 1),
            255 => {
                self.align();
                self.number(above, 8);
            }
            256..65_536 => {
                self.align();
                self.number(above, 16);
            }
            _ => {
                let octets = above.max(1).ilog2() / 8 + 1;
                let most: u32 = if span < 1 << 24 { 3 } else { 4 };
                self.number(u64::from(octets) - 1, if most > 2 { 2 } else { 1 });
                self.align();
                self.number(above, octets * 8);
            }
        }
    }

    fn number(&mut self, value: u64, bits: u32) {
        self.bits
            .extend((0..bits).rev().map(|n| value >> n & 1 == 1));
    }

    fn align(&mut self) {
        let len = self.bits.len().next_multiple_of(8);
        self.bits.resize(len, false);
    }
}

/// How many of something.
fn some(size: Size, dice: &mut Dice) -> u64 {
    match size {
        Size::Any => dice.below(4),
        Size::Of(low, high) => low + dice.below((high - low + 1).min(3)),
    }
}

/// Whether a value of the type can be made.
pub fn described(of: &'static Type) -> bool {
    match of {
        Type::Opaque => false,
        Type::Choice(root, more) => {
            root.iter().any(|t| described(t))
                || matches!(more, More::Open(known) if !known.is_empty())
        }
        Type::Null
        | Type::Flags(_)
        | Type::Integer(..)
        | Type::Seconds(..)
        | Type::Octets(_)
        | Type::Text(..)
        | Type::Object
        | Type::Protocol(_)
        | Type::Ip4
        | Type::Ip6
        | Type::Sequence(..)
        | Type::Kind(_)
        | Type::List(..)
        | Type::Encoded(_) => true,
    }
}

/// What the walk found, as the encoding says it.
pub fn places(found: &[Found]) -> Vec<(Place, Range<usize>)> {
    found.iter().map(|f| (f.place, f.at.clone())).collect()
}
