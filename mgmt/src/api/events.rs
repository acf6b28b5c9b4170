//! `/v1/events`: a stream of lines for as long as the client listens.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;

use super::connections::{Pairs, bad};
use super::routes::{Failure, Gateway, off_loop};
use super::serve::Visit;
use crate::filter::EventFilter;
use crate::watch::Watching;

/// The most bytes of lines that leave in one piece.
const PIECE_MAX: usize = 64 * 1024;

pub(super) async fn stream(
    State(gateway): State<Gateway>,
    Extension(visit): Extension<Visit>,
    query: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let mut wanted = EventFilter::default();
    for (name, value) in &query {
        wanted.ask(name, value).map_err(bad)?;
    }
    let place = visit.stream_place().ok_or_else(|| {
        let message = "as many streams as there may be are open already; end one of them";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    let watching = off_loop(gateway, move |g| g.watch(wanted)).await??;
    visit.stay(place);
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        // What the client asks next needs a place among the requests again.
        (header::CONNECTION, "close"),
    ];
    Ok((headers, Body::new(Lines(watching))).into_response())
}

/// A watcher's lines as a body that ends when they do.
struct Lines(Watching);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let lines = self.0.lines();
        let Some(first) = ready!(lines.poll_recv(context)) else {
            return Poll::Ready(None);
        };
        let Ok(second) = lines.try_recv() else {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        };
        let mut piece = [first, second].concat();
        while piece.len() < PIECE_MAX
            && let Ok(line) = lines.try_recv()
        {
            piece.extend_from_slice(&line);
        }
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}
