//! The listeners of a running gateway: opened before it starts, served while it runs.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::{Daemon, RunError};
use crate::api::{self, Bound, Limits, Streams};
use crate::config::services::MetricsConfig;
use crate::logs::Topic;
use crate::running::Running;

/// How long requests that are being answered may take when the gateway stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Listeners that accept nothing yet.
pub struct Listeners {
    socket: Bound,
    metrics: Option<(TcpListener, MetricsConfig)>,
}

/// Listeners that are being served.
pub struct Serving {
    runtime: Runtime,
    socket: Bound,
    streams: Streams,
}

impl Listeners {
    /// Opens the metrics port beside the management socket.
    pub fn open(socket: Bound, metrics: Option<MetricsConfig>) -> Result<Self, RunError> {
        let metrics = metrics.map(|config| {
            let port = config.port;
            api::open_metrics(port)
                .map(|listener| (listener, config))
                .map_err(|source| RunError::MetricsPort { port, source })
        });
        Ok(Self {
            socket,
            metrics: metrics.transpose()?,
        })
    }

    /// Serves what `daemon` answers until [`Serving::stop`].
    pub fn serve(self, daemon: &Arc<Daemon>) -> Result<Serving, RunError> {
        let failed = |what| move |source| RunError::System { what, source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tp-api")
            .enable_all()
            .build()
            .map_err(failed("no event loop for the API"))?;
        let gateway: Arc<dyn Running> = Arc::<Daemon>::clone(daemon);
        let listener = self
            .socket
            .listener()
            .map_err(failed("cannot use the management socket"))?;
        let router = api::router(Arc::clone(&gateway));
        let streams = Streams::default();
        spawn(
            &runtime,
            daemon,
            "the management socket",
            api::serve_socket(listener, router, Limits::default(), streams.clone()),
        );
        if let Some((listener, config)) = self.metrics {
            let router = api::metrics_router(gateway);
            spawn(
                &runtime,
                daemon,
                "the metrics port",
                api::serve_metrics(listener, config, router, Limits::default()),
            );
        }
        Ok(Serving {
            runtime,
            socket: self.socket,
            streams,
        })
    }
}

/// A listener that ends has failed; that is said, and the gateway goes on.
fn spawn(
    runtime: &Runtime,
    daemon: &Arc<Daemon>,
    what: &'static str,
    listener: impl Future<Output = std::io::Result<Infallible>> + Send + 'static,
) {
    let daemon = Arc::clone(daemon);
    runtime.spawn(async move {
        let Err(error) = listener.await;
        daemon
            .logs
            .write(Topic::System, format!("{what} is not served: {error}"));
    });
}

impl Serving {
    /// Stops serving and removes the socket. Streams that were told to end get the time for it.
    pub fn stop(self) {
        let ended = async { tokio::time::timeout(LAST_ANSWERS, self.streams.ended()).await };
        // One whose client does not read is cut off with the rest.
        let _in_time = self.runtime.block_on(ended);
        self.runtime.shutdown_timeout(LAST_ANSWERS);
        drop(self.socket);
    }
}
