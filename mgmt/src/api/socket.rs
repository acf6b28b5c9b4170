//! The management socket: made fresh, refused where another gateway answers, removed at the end.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the management socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another gateway answers there.
    #[error(
        "another turnpike is running on {0}; stop it, or give this one a socket of its own \
         (`services: {{ api: {{ socket: … }} }}`)"
    )]
    Taken(PathBuf),
    /// Something is there that is not a socket.
    #[error("{0} exists and is not a socket; remove it, or choose another path")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot make the management socket {path}: {source}; {hint}")]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
}

/// A listening socket that is removed when it goes.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    path: PathBuf,
}

impl Bound {
    /// The listener, for an event loop of its own.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // The path may have been taken away already; there is nothing left to do about it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes the socket at `path`, readable and writable by its owner and group.
///
/// A socket that nobody answers on is left over from a gateway that was killed, and is removed.
///
/// # Errors
/// Another gateway answers there, or the system refuses.
pub fn bind(path: &Path) -> Result<Bound, SocketError> {
    let failed = |hint| {
        move |source| SocketError::System {
            path: path.to_owned(),
            source,
            hint,
        }
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed("create its directory"))?;
    }
    if let Ok(found) = path.symlink_metadata() {
        use std::os::unix::fs::FileTypeExt;
        if !found.file_type().is_socket() {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::Taken(path.to_owned()));
        }
        std::fs::remove_file(path).map_err(failed("remove it by hand"))?;
    }
    let listener = UnixListener::bind(path)
        .map_err(failed("run as root, or choose a path that can be written"))?;
    let bound = Bound {
        listener,
        path: path.to_owned(),
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .map_err(failed("run as its owner"))?;
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gateway_on_the_same_socket_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/api.sock");
        let first = bind(&path).unwrap();
        let second = bind(&path).unwrap_err();
        assert!(matches!(second, SocketError::Taken(_)), "{second}");
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let bound = bind(&path).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(bound);
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
