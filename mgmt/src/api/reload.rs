//! `/v1/reload`: reading the configuration again, finding out what that would do, and keeping it.

use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::connections::bad;
use super::routes::{Failure, Gateway, off_loop};
use crate::config::section::Word;
use crate::config::value::Switch;
use crate::running::{CONFIRM_MAX, Refusal, ReloadOptions};

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(failed) => Self(StatusCode::UNPROCESSABLE_ENTITY, failed),
            Refusal::StartOnly(failed) | Refusal::NotNow(failed) => {
                Self(StatusCode::CONFLICT, failed)
            }
            Refusal::Unfinished(failed) => Self(StatusCode::SERVICE_UNAVAILABLE, failed),
        }
    }
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Options {
    dry_run: Option<String>,
    file: Option<PathBuf>,
    cut_refused: Option<String>,
    confirm: Option<String>,
    confirmed: Option<String>,
}

/// What is asked for.
enum Asked {
    Reload(ReloadOptions),
    DryRun(Option<PathBuf>),
    Confirm,
}

impl Options {
    fn asked(self) -> Result<Asked, Failure> {
        let dry_run = switch("dry-run", self.dry_run)?;
        let confirm = switch("confirmed", self.confirmed)?;
        let cut_refused = switch("cut-refused", self.cut_refused)?;
        let alone = !cut_refused.is_on() && self.confirm.is_none();
        if self.file.is_some() && !dry_run.is_on() {
            return Err(bad(
                "file: it goes with dry-run=yes; a reload reads the gateway's own file".to_owned(),
            ));
        }
        match (dry_run, confirm) {
            (Switch::On, Switch::Off) if alone => Ok(Asked::DryRun(self.file)),
            (Switch::Off, Switch::On) if alone => Ok(Asked::Confirm),
            (Switch::Off, Switch::Off) => Ok(Asked::Reload(ReloadOptions {
                cut_refused,
                confirm_within: self.confirm.map(|text| within(&text)).transpose()?,
            })),
            (Switch::On | Switch::Off, _) => Err(bad(
                "dry-run and confirmed each stand alone; leave the others out".to_owned(),
            )),
        }
    }
}

fn switch(name: &str, value: Option<String>) -> Result<Switch, Failure> {
    match value {
        Some(text) => Switch::read(&text).map_err(|e| bad(format!("{name}: {e}"))),
        None => Ok(Switch::Off),
    }
}

fn within(text: &str) -> Result<Duration, Failure> {
    let within = Duration::read(text).map_err(|e| bad(format!("confirm: {e}")))?;
    if within.as_secs() == 0 || within > CONFIRM_MAX {
        return Err(bad(
            "confirm: it has to be between 1s and 1d; write, for example, 60s".to_owned(),
        ));
    }
    Ok(within)
}

pub(super) async fn reload(
    State(gateway): State<Gateway>,
    query: Result<Query<Options>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(options) = query?;
    Ok(match options.asked()? {
        Asked::Reload(options) => {
            let reloaded = off_loop(gateway, move |g| g.reload(&options)).await?;
            Json(reloaded?).into_response()
        }
        Asked::DryRun(file) => {
            let dry_run = off_loop(gateway, move |g| g.dry_run(file.as_deref())).await?;
            Json(dry_run?).into_response()
        }
        Asked::Confirm => {
            let confirmed = off_loop(gateway, |g| g.confirm_reload()).await?;
            Json(confirmed?).into_response()
        }
    })
}
