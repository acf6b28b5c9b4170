//! The management API: HTTP and JSON over a Unix socket, and metrics for Prometheus over TCP.
//!
//! Nothing here changes a packet's fate: reading is all there is, besides `reload` and ending
//! connections. Calls into the gateway may wait for a worker, so they run off the event loop.

mod connections;
mod drops;
mod events;
mod explain;
mod lists;
mod reload;
mod routes;
mod serve;
mod socket;

pub use drops::drops_of;
pub use routes::{metrics_router, router};
pub use serve::{Limits, STREAMS_MAX, Streams, open_metrics, serve_metrics, serve_socket};
pub use socket::{Bound, SocketError, bind};
