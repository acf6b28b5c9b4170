//! H.323: registration with a gatekeeper, call signalling, and the control of media.
//!
//! A call begins with a stream of call signalling ([`CallSignalling`]), which names where the
//! control of media ([`MediaControl`]) is to be connected to, or carries its messages inside
//! (tunnelling), or opens media at once (fast start). An endpoint that is registered with a
//! gatekeeper ([`Registration`]) is called where it has said.
//!
//! All of it is aligned PER (`per`) of the types in `h225`, `ras` and `h245`. Endpoints are
//! replaced where they stand, so no message changes its length. A message that cannot be read
//! passes as it is and opens nothing.

mod endpoints;
mod h225;
mod h245;
mod media;
mod per;
mod q931;
mod ras;
mod registration;
mod signalling;
#[cfg(test)]
mod tests;
mod tpkt;

pub use media::MediaControl;
pub use registration::Registration;
pub use signalling::CallSignalling;
