//! Registration, admission and status (RAS): datagrams between an endpoint and its gatekeeper (port
//! 1719).
//!
//! A registration says where the endpoint takes calls. They are announced with the request, because
//! the gatekeeper is told then, but not for long; again with the confirmation, for as long as that
//! grants; and taken back with a rejection or the end of the registration. They may come from the
//! gatekeeper's address: with a gatekeeper that routes calls they do.

use std::net::SocketAddr;
use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::Direction;

use super::endpoints::{About, CALL_TIMEOUT, known_as, settle};
use super::per::{Named, Place};
use super::{per, ras};
use crate::helper::{Call, Desk, Helper, Progress};

/// Where calls are taken, of one registration; more are announced once and not again.
const LISTENERS_MAX: usize = 8;
/// How long a registration holds that does not say for how long.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(3_600);
/// The longest that one holds without being repeated.
const REGISTRATION_MAX: Duration = Duration::from_secs(86_400);

/// What registrations announce.
const REGISTRATION: Call = Call(0);
/// What everything else announces.
const OTHER: Call = Call(1);

/// Reads registration, admission and status.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Where who takes calls.
    listeners: ArrayVec<(Direction, SocketAddr), LISTENERS_MAX>,
    known: bool,
}

/// What a message does to the registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Asks,
    Grants,
    Ends,
    Nothing,
}

impl Registration {
    /// A reader of a connection that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces again, for as long as is granted, where the receiver takes calls. Whoever has not
    /// said where is granted nothing.
    fn grant(&self, desk: &mut dyn Desk, about: &About) {
        let about = About {
            from: about.from.flip(),
            ..*about
        };
        for (owner, listener) in &self.listeners {
            if *owner == about.from {
                // It has been told with the request.
                let _ = known_as(desk, &about, Place::Registered, *listener);
                desk.keep(about.registered_for);
            }
        }
    }

    fn ask(&mut self, desk: &dyn Desk, from: Direction, found: &Named) {
        let own = desk.session().sender(from).own.ip();
        let mut taken = found
            .endpoints
            .iter()
            .filter(|f| f.place == Place::Registered && f.endpoint.ip() == own)
            .peekable();
        // A repetition may leave out where calls are taken.
        if taken.peek().is_some() {
            self.listeners.retain(|(owner, _)| *owner != from);
        }
        for found in taken {
            let _ = self.listeners.try_push((from, found.endpoint));
        }
    }
}

impl Helper for Registration {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        let whole = 0..bytes.len();
        let message = per::chosen(bytes, whole.clone(), ras::MESSAGES);
        let (Ok(message), Ok(found)) = (message, per::find(bytes, whole, &ras::MESSAGE)) else {
            return match self.known {
                true => Progress::Read(bytes.len()),
                false => Progress::Leave,
            };
        };
        self.known = true;
        let effect = match message {
            ras::REGISTRATION_REQUEST => Effect::Asks,
            ras::REGISTRATION_CONFIRM => Effect::Grants,
            ras::REGISTRATION_REJECT | ras::UNREGISTRATION_CONFIRM => Effect::Ends,
            _ => Effect::Nothing,
        };
        let about = About {
            from,
            call: match effect {
                Effect::Asks | Effect::Grants | Effect::Ends => REGISTRATION,
                Effect::Nothing => OTHER,
            },
            registered_for: found
                .seconds
                .map_or(REGISTRATION_TIMEOUT, Duration::from_secs)
                .min(match effect {
                    Effect::Asks => CALL_TIMEOUT,
                    Effect::Grants | Effect::Ends | Effect::Nothing => REGISTRATION_MAX,
                }),
        };
        for found in &found.endpoints {
            settle(desk, &about, found);
        }
        match effect {
            Effect::Asks => self.ask(desk, from, &found),
            Effect::Grants => self.grant(desk, &about),
            Effect::Ends => {
                self.listeners.clear();
                desk.withdraw(REGISTRATION);
            }
            Effect::Nothing => {}
        }
        Progress::Read(bytes.len())
    }
}
