//! Tests of the readers of H.323.

mod bytes;
mod calls;
mod captures;
mod gatekeepers;
mod generate;
mod messages;
mod oracle;
