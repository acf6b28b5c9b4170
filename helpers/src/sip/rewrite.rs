//! Header fields of a message, carried over into the receiver's terms.
//!
//! What is reached at an address (request line, Via, Contact, routes) is carried over as an
//! endpoint; what is only named by one (From, To and their like) as an address, so that a name
//! without a port comes back without one. A contact at another port of the sender's own is
//! announced, and so is a step of Via that answers go to.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_conntrack::expect::{ChildLife, Class, Uses};
use turnpike_conntrack::ids::Direction;

use super::media::PORT_MIN;
use super::message::{Field, Fields, Head, Start};
use super::uri::{self, Element, Host, Parameters, Said, Uri, Via};
use crate::helper::{Call, Desk, Opener, Ports, Reader, Transport, Wanted};
use crate::text;

/// How many announced ports for signalling a control connection may have.
const SIGNALLING: Class = Class {
    number: 1,
    max_expected: 32,
    timeout: ANSWER,
};
/// How long the answer to a request, or to a registration, is waited for.
pub(super) const ANSWER: Duration = Duration::from_secs(180);
/// The most contacts of a message that are announced or registered; others stay as they are.
const CONTACTS_MAX: usize = 8;
/// How long a registration lasts that says nothing (RFC 3261, 10.2).
const EXPIRES: u64 = 3600;

/// Where one side is ready for signalling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) at: SocketAddr,
    pub(super) transport: Transport,
}

impl Listener {
    /// What is announced for it by registrations belongs together.
    pub(super) fn call(&self) -> Call {
        let mut hash = super::Hash::default();
        match self.at.ip() {
            IpAddr::V4(ip) => hash.add(&ip.octets()),
            IpAddr::V6(ip) => hash.add(&ip.octets()),
        }
        hash.add(&self.at.port().to_be_bytes());
        hash.add(&[self.transport as u8]);
        Call(hash.0 | 1)
    }

    /// Announces it to the receiver.
    pub(super) fn announce(
        self,
        from: Direction,
        call: Call,
        lifetime: Duration,
        desk: &mut dyn Desk,
    ) -> Option<SocketAddr> {
        if self.at.port() < PORT_MIN {
            return None;
        }
        let wanted = Wanted {
            transport: self.transport,
            listener: self.at,
            ports: Ports::One,
            opener: Opener::Receiver,
            answers_to: None,
            uses: Uses::UntilTimeout,
            life: ChildLife::Own,
            class: Class {
                timeout: lifetime,
                ..SIGNALLING
            },
            reader: Some(Reader::Sip),
            call,
        };
        desk.expect(from, &wanted).ok()
    }
}

/// What contacts of a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contacts {
    /// Nothing that has to be reachable.
    Other,
    /// Where requests of this dialog go to.
    Dialog(Call, Duration),
    /// What is to be registered.
    Registering,
    /// What a registrar says is registered.
    Registered,
}

/// A contact of a registration, in the terms of the side that registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) listener: Listener,
    /// In seconds.
    pub(super) expires: u64,
}

/// A message whose header is carried over.
pub(super) struct Rewriting<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) head: &'a Head,
    pub(super) from: Direction,
    pub(super) contacts: Contacts,
    /// Whether the sender knows by which address it is known.
    pub(super) is_aware: bool,
    /// The length of the body, if that changes.
    pub(super) length: Option<usize>,
    pub(super) desk: &'a mut dyn Desk,
    /// The contacts of a registration.
    pub(super) bindings: ArrayVec<Binding, CONTACTS_MAX>,
    /// How many contacts there were.
    pub(super) contacts_seen: usize,
}

impl Rewriting<'_> {
    /// Carries all of it over.
    pub(super) fn run(&mut self) {
        let request = match &self.head.start {
            Start::Request { uri, .. } => Some(uri.clone()),
            Start::Response { .. } => None,
        };
        if let Some(uri) = request.clone() {
            self.route(uri);
        }
        let mut is_first = request.is_some();
        for (field, value) in Fields::of(self.bytes, self.head.fields.clone()) {
            match field {
                Field::Via => {
                    for via in uri::vias(self.bytes, value) {
                        self.via(&via, is_first, request.is_some());
                        is_first = false;
                    }
                    is_first = false;
                }
                Field::Contact => {
                    for element in uri::elements(self.bytes, value) {
                        self.contacts_seen += 1;
                        self.contact(&element);
                    }
                }
                Field::Route => {
                    for element in uri::elements(self.bytes, value) {
                        self.route(element.uri);
                    }
                }
                Field::Identity => {
                    for element in uri::elements(self.bytes, value) {
                        self.identity(element.uri);
                    }
                }
                Field::ContentLength => {
                    if let Some(length) = self.length {
                        self.write(value, text::written(format_args!("{length}")));
                    }
                }
                Field::CallId
                | Field::CSeq
                | Field::ContentType
                | Field::ContentEncoding
                | Field::Expires
                | Field::Other => {}
            }
        }
    }

    fn write(&mut self, range: Range<usize>, with: Option<text::Written>) {
        if let Some(with) =
            with.filter(|with| text::of(self.bytes, range.clone()) != with.as_bytes())
        {
            self.desk.replace(range, with.as_bytes());
        }
    }

    fn carried_address(&self, address: IpAddr) -> Option<IpAddr> {
        self.desk.session().carried_address(self.from, address)
    }

    fn has_parameter(&self, parameters: &Range<usize>, name: &[u8]) -> bool {
        let found = Parameters::of(self.bytes, parameters.clone()).find_value(name);
        found.is_some()
    }

    /// An address that overrides the host for those who reply or send.
    fn maddr(&mut self, parameters: &Range<usize>) {
        let found = Parameters::of(self.bytes, parameters.clone()).find_value(b"maddr");
        let Some(range) = found else {
            return;
        };
        let address = text::address(text::of(self.bytes, range.clone()));
        if let Some(new) = address.and_then(|address| self.carried_address(address)) {
            self.write(range, text::written(format_args!("{new}")));
        }
    }

    /// A step of the way of a request. Answers go back to the first one, if that does not ask
    /// (`rport`) to have them sent to where the request came from.
    fn via(&mut self, via: &Via, is_first: bool, is_request: bool) {
        let has_rport = self.has_parameter(&via.parameters, b"rport");
        if is_request && self.is_aware && has_rport {
            return;
        }
        let endpoint = via.host.endpoint();
        let session = *self.desk.session();
        let mut new = self.desk.carried(self.from, endpoint);
        let own = session.sender(self.from).own.ip();
        let waits = is_first && !has_rport && session.transport == Transport::Udp;
        if new.is_none() && waits && endpoint.ip() == own {
            let listener = Listener {
                at: endpoint,
                transport: Transport::Udp,
            };
            new = listener.announce(self.from, listener.call(), ANSWER, self.desk);
        }
        let with = match new {
            Some(new) => via.host.written(new),
            None => self.address_only(&via.host),
        };
        self.write(via.host.range.clone(), with);
        self.maddr(&via.parameters);
    }

    fn address_only(&self, host: &Host) -> Option<text::Written> {
        host.written_address(self.carried_address(host.address)?)
    }

    /// A URI that requests go to.
    fn route(&mut self, range: Range<usize>) {
        if let Some(uri) = Uri::read(self.bytes, range) {
            let new = self.desk.carried(self.from, uri.host.endpoint());
            self.write_host(&uri, new);
        }
    }

    fn write_host(&mut self, uri: &Uri, new: Option<SocketAddr>) {
        if let Some(new) = new {
            self.write(uri.host.range.clone(), uri.host.written(new));
        }
        self.maddr(&uri.parameters);
    }

    /// A URI that somebody is named by.
    fn identity(&mut self, range: Range<usize>) {
        let Some(uri) = Uri::read(self.bytes, range) else {
            return;
        };
        let host = &uri.host;
        let endpoint = host.port.map(|_| host.endpoint());
        let with = match endpoint.and_then(|at| self.desk.carried(self.from, at)) {
            Some(new) => host.written(new),
            None => self.address_only(host),
        };
        self.write(host.range.clone(), with);
    }

    fn contact(&mut self, element: &Element) {
        let Some(uri) = Uri::read(self.bytes, element.uri.clone()) else {
            return;
        };
        let endpoint = uri.host.endpoint();
        let carried = self.desk.carried(self.from, endpoint);
        let new = match self.contacts {
            _ if self.contacts_seen > CONTACTS_MAX => carried,
            Contacts::Other => carried,
            Contacts::Dialog(call, lifetime) => self.own(&uri).map_or(carried, |listener| {
                if self.is_own_end(&listener) {
                    carried
                } else {
                    listener.announce(self.from, call, lifetime, self.desk)
                }
            }),
            Contacts::Registering => self.registering(&uri, element, carried),
            Contacts::Registered => {
                self.registered(&uri, element, carried);
                carried
            }
        };
        self.write_host(&uri, new);
    }

    /// Where the sender says that it is ready, if that is at its own address and can be read.
    fn own(&self, uri: &Uri) -> Option<Listener> {
        let session = self.desk.session();
        let at = uri.host.endpoint();
        let transport = plain(uri, session.transport)?;
        (at.ip() == session.sender(self.from).own.ip()).then_some(Listener { at, transport })
    }

    fn is_own_end(&self, listener: &Listener) -> bool {
        let session = self.desk.session();
        listener.at == session.sender(self.from).own && listener.transport == session.transport
    }

    /// A contact that is to be registered: announced for as long as the answer may take, if it is
    /// not known yet. For how long it stays, the registrar says.
    fn registering(
        &mut self,
        uri: &Uri,
        element: &Element,
        carried: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let Some(listener) = self.own(uri) else {
            return carried;
        };
        let expires = self.expires(element);
        let _ = self.bindings.try_push(Binding { listener, expires });
        let is_other =
            listener.at == self.desk.session().sender(self.from).own && !self.is_own_end(&listener);
        if expires == 0 || (carried.is_some() && !is_other) {
            return carried;
        }
        listener.announce(self.from, listener.call(), ANSWER, self.desk)
    }

    /// A contact that is registered: of interest if it is one of the other side's own.
    fn registered(&mut self, uri: &Uri, element: &Element, carried: Option<SocketAddr>) {
        let session = self.desk.session();
        let own = session.receiver(self.from).own.ip();
        let transport = plain(uri, session.transport);
        if let (Some(at), Some(transport)) = (carried.filter(|at| at.ip() == own), transport) {
            let listener = Listener { at, transport };
            let expires = self.expires(element);
            let _ = self.bindings.try_push(Binding { listener, expires });
        }
    }

    fn expires(&self, element: &Element) -> u64 {
        let own = Parameters::of(self.bytes, element.parameters.clone()).find_value(b"expires");
        let own = own.and_then(|range| text::number(text::of(self.bytes, range)));
        own.or(self.head.expires).unwrap_or(EXPIRES)
    }
}

/// What carries SIP to a URI, if that can be read.
const fn plain(uri: &Uri, otherwise: Transport) -> Option<Transport> {
    match uri.transport {
        Said::Nothing => Some(otherwise),
        Said::Plain(transport) => Some(transport),
        Said::Sealed => None,
    }
}
