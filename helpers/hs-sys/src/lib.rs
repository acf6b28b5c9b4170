//! Vectorscan behind a safe layer: many regular expressions in one pass, over data in pieces.
//!
//! [`Database`] owns compiled expressions, [`Stream`] how far one of many streams has come, and
//! [`Scanner`] the room that scanning takes, one for each thread that does. All give back what they
//! own when they are dropped. A scan says which expression, the lowest by its place in the
//! database, has a match that ends in the piece of data.
//!
//! Expressions are those of Vectorscan (PCRE without what takes more than one pass), matched
//! without regard to case, a dot matching everything. An expression that matches nothing at all,
//! the empty text, is refused.

pub mod ffi;

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// Why a set of expressions has no database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The expression, by its place, if it is one in particular.
    pub expression: Option<usize>,
    /// What is wrong, in Vectorscan's words.
    pub reason: String,
}

/// There is no memory for a stream, or for scanning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

/// Expressions, compiled.
#[derive(Debug)]
pub struct Database {
    raw: NonNull<ffi::Database>,
    stream_bytes: usize,
    bytes: usize,
}

// SAFETY: a compiled database is never written to, and any thread may free it.
unsafe impl Send for Database {}
// SAFETY: as above; any number of threads may scan with one database at the same time.
unsafe impl Sync for Database {}

impl Database {
    /// Compiles `expressions`; an expression's identifier is its place.
    ///
    /// # Errors
    /// The first expression that cannot be run, and why; or that this machine cannot run any.
    pub fn compile(expressions: &[CString]) -> Result<Self, Refused> {
        let refused = |reason: &str| Refused {
            expression: None,
            reason: reason.to_owned(),
        };
        // SAFETY: no preconditions.
        if unsafe { ffi::hs_valid_platform() } != ffi::SUCCESS {
            return Err(refused("this CPU lacks what Vectorscan needs (SSE 4.2)"));
        }
        let count = c_uint::try_from(expressions.len()).map_err(|_| refused("too many"))?;
        let texts: Vec<*const c_char> = expressions.iter().map(|text| text.as_ptr()).collect();
        let ids: Vec<c_uint> = (0..count).collect();
        let flags = ffi::FLAG_CASELESS | ffi::FLAG_DOTALL | ffi::FLAG_SINGLEMATCH;
        let flags = vec![flags; expressions.len()];
        let (mut raw, mut error) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the three arrays have `count` elements each, the texts end with a NUL and outlive
        // the call, no platform means this machine's, and the last two are where results go.
        let status = unsafe {
            ffi::hs_compile_multi(
                texts.as_ptr(),
                flags.as_ptr(),
                ids.as_ptr(),
                count,
                ffi::MODE_STREAM,
                ptr::null(),
                &raw mut raw,
                &raw mut error,
            )
        };
        if let Some(error) = NonNull::new(error) {
            return Err(take_error(error));
        }
        match NonNull::new(raw) {
            Some(raw) if status == ffi::SUCCESS => Ok(Self::measured(raw)),
            Some(_) | None => Err(refused("Vectorscan could not compile it")),
        }
    }

    fn measured(raw: NonNull<ffi::Database>) -> Self {
        let (mut stream_bytes, mut bytes) = (0, 0);
        // SAFETY: the database was just made, and the second is where the result goes.
        let _status = unsafe { ffi::hs_stream_size(raw.as_ptr(), &raw mut stream_bytes) };
        // SAFETY: as above.
        let _status = unsafe { ffi::hs_database_size(raw.as_ptr(), &raw mut bytes) };
        Self {
            raw,
            stream_bytes,
            bytes,
        }
    }

    /// How many bytes a stream takes.
    pub const fn stream_bytes(&self) -> usize {
        self.stream_bytes
    }

    /// How many bytes the database takes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: it was made by `hs_compile_multi`, nobody else frees it, and streams and scanners
        // keep it alive.
        let _status = unsafe { ffi::hs_free_database(self.raw.as_ptr()) };
    }
}

/// Reads what the compiler said, and gives it back.
fn take_error(error: NonNull<ffi::CompileError>) -> Refused {
    // SAFETY: the compiler has made it and it has not been freed.
    let (message, expression) = unsafe {
        let ffi::CompileError {
            message,
            expression,
        } = error.as_ref();
        (*message, *expression)
    };
    let reason = if message.is_null() {
        "no reason was given".to_owned()
    } else {
        // SAFETY: a message ends with a NUL and lives as long as the error.
        unsafe { CStr::from_ptr(message) }
            .to_string_lossy()
            .into_owned()
    };
    // SAFETY: it is freed once, and nothing of it is used behind this.
    let _status = unsafe { ffi::hs_free_compile_error(error.as_ptr()) };
    Refused {
        expression: usize::try_from(expression).ok(),
        reason,
    }
}

/// How far one stream of data has come.
#[derive(Debug)]
pub struct Stream {
    raw: NonNull<ffi::Stream>,
    /// What it was opened with has to outlive it.
    database: Arc<Database>,
}

// SAFETY: a stream belongs to no thread; one at a time uses it, by exclusive reference.
unsafe impl Send for Stream {}

impl Stream {
    /// Opens a stream at its start.
    ///
    /// # Errors
    /// [`NoMemory`] if there is none for it.
    pub fn open(database: &Arc<Database>) -> Result<Self, NoMemory> {
        let mut raw = ptr::null_mut();
        // SAFETY: the database is alive, and the last is where the result goes.
        let status = unsafe { ffi::hs_open_stream(database.raw.as_ptr(), 0, &raw mut raw) };
        match NonNull::new(raw) {
            Some(raw) if status == ffi::SUCCESS => Ok(Self {
                raw,
                database: Arc::clone(database),
            }),
            Some(_) | None => Err(NoMemory),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: it is open and nobody else closes it; without a handler no scratch is needed.
        let _status = unsafe {
            ffi::hs_close_stream(self.raw.as_ptr(), ptr::null_mut(), None, ptr::null_mut())
        };
    }
}

/// The room that scanning takes, for the streams of one database.
#[derive(Debug)]
pub struct Scanner {
    scratch: NonNull<ffi::Scratch>,
    database: Arc<Database>,
    /// What a stream is copied to, to be asked about its end.
    spare: Stream,
}

// SAFETY: scratch belongs to no thread; one at a time uses it, by exclusive reference.
unsafe impl Send for Scanner {}

impl Scanner {
    /// Takes room for streams of `database`.
    ///
    /// # Errors
    /// [`NoMemory`] if there is none.
    pub fn new(database: &Arc<Database>) -> Result<Self, NoMemory> {
        let spare = Stream::open(database)?;
        let mut scratch = ptr::null_mut();
        // SAFETY: the database is alive; a null scratch asks for a new one, which goes there.
        let status = unsafe { ffi::hs_alloc_scratch(database.raw.as_ptr(), &raw mut scratch) };
        match NonNull::new(scratch) {
            Some(scratch) if status == ffi::SUCCESS => Ok(Self {
                scratch,
                database: Arc::clone(database),
                spare,
            }),
            Some(_) | None => Err(NoMemory),
        }
    }

    /// Opens a stream of this scanner's database.
    ///
    /// # Errors
    /// [`NoMemory`] if there is none for it.
    pub fn open(&self) -> Result<Stream, NoMemory> {
        Stream::open(&self.database)
    }

    /// Scans the next piece of a stream: the lowest expression with a match that ends in it.
    ///
    /// A stream of another database has no matches. A stream in which one was found has come to
    /// its end and is to be dropped.
    pub fn scan(&mut self, stream: &mut Stream, data: &[u8]) -> Option<u32> {
        let length = c_uint::try_from(data.len()).ok()?;
        if !Arc::ptr_eq(&stream.database, &self.database) {
            return None;
        }
        let mut lowest = u32::MAX;
        // SAFETY: stream and scratch are of one living database and used by nobody else; the data
        // has `length` bytes; the handler takes a `u32`, which outlives the call.
        let _status = unsafe {
            ffi::hs_scan_stream(
                stream.raw.as_ptr(),
                data.as_ptr().cast(),
                length,
                0,
                self.scratch.as_ptr(),
                Some(keep_lowest),
                (&raw mut lowest).cast(),
            )
        };
        (lowest != u32::MAX).then_some(lowest)
    }

    /// The lowest expression that matches if the stream ends here; the stream goes on all the same.
    pub fn scan_end(&mut self, stream: &Stream) -> Option<u32> {
        if !Arc::ptr_eq(&stream.database, &self.database) {
            return None;
        }
        let mut lowest = u32::MAX;
        // SAFETY: both streams and the scratch are of one living database; the spare is this
        // scanner's own, and without a handler no context is looked at.
        let copied = unsafe {
            ffi::hs_reset_and_copy_stream(
                self.spare.raw.as_ptr(),
                stream.raw.as_ptr(),
                self.scratch.as_ptr(),
                None,
                ptr::null_mut(),
            )
        };
        if copied != ffi::SUCCESS {
            return None;
        }
        // SAFETY: as above; the handler takes a `u32`, which outlives the call.
        let _status = unsafe {
            ffi::hs_reset_stream(
                self.spare.raw.as_ptr(),
                0,
                self.scratch.as_ptr(),
                Some(keep_lowest),
                (&raw mut lowest).cast(),
            )
        };
        (lowest != u32::MAX).then_some(lowest)
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        // SAFETY: it was allocated by `hs_alloc_scratch`, nobody else frees it, and no scan is
        // under way.
        let _status = unsafe { ffi::hs_free_scratch(self.scratch.as_ptr()) };
    }
}

/// Keeps the lowest expression; nothing is lower than the first, so the scan ends with it.
///
/// # Safety
/// `context` points to a `u32` that nobody else uses.
unsafe extern "C" fn keep_lowest(
    id: c_uint,
    _from: c_ulonglong,
    _to: c_ulonglong,
    _flags: c_uint,
    context: *mut c_void,
) -> c_int {
    // SAFETY: so says the caller.
    let lowest = unsafe { &mut *context.cast::<u32>() };
    *lowest = id.min(*lowest);
    c_int::from(id == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(expressions: &[&str]) -> Result<Arc<Database>, Refused> {
        let texts: Vec<CString> = expressions
            .iter()
            .map(|text| CString::new(*text).unwrap())
            .collect();
        Database::compile(&texts).map(Arc::new)
    }

    #[test]
    fn a_match_across_pieces_is_found_where_it_ends_and_the_lowest_wins() {
        let database = database(&["get [^ ]+ http", "^get"]).unwrap();
        let mut scanner = Scanner::new(&database).unwrap();
        let mut stream = scanner.open().unwrap();
        assert_eq!(scanner.scan(&mut stream, b"GE"), None);
        assert_eq!(scanner.scan(&mut stream, b"T /"), Some(1));
        let mut stream = scanner.open().unwrap();
        assert_eq!(scanner.scan(&mut stream, b"GET / H"), Some(1));
        assert_eq!(scanner.scan(&mut stream, b"TTP/1.1"), Some(0));
        let mut whole = scanner.open().unwrap();
        assert_eq!(scanner.scan(&mut whole, b"get / http/1.0"), Some(0));
    }

    #[test]
    fn the_end_of_a_stream_can_be_asked_for_again_and_again() {
        let database = database(&["^ab+\\z"]).unwrap();
        let mut scanner = Scanner::new(&database).unwrap();
        let mut stream = scanner.open().unwrap();
        for (piece, at_end) in [("a", None), ("b", Some(0)), ("b", Some(0)), ("c", None)] {
            assert_eq!(scanner.scan(&mut stream, piece.as_bytes()), None);
            assert_eq!(scanner.scan_end(&stream), at_end, "behind {piece}");
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_its_place_and_reason() {
        let refused = database(&["fine", "(a)\\1"]).unwrap_err();
        assert_eq!(refused.expression, Some(1));
        assert!(refused.reason.contains("Back-references"), "{refused:?}");
        let refused = database(&[".*"]).unwrap_err();
        assert!(refused.reason.contains("empty"), "{refused:?}");
    }

    #[test]
    fn a_stream_of_another_database_has_no_matches() {
        let (one, other) = (database(&["a"]).unwrap(), database(&["a"]).unwrap());
        let mut scanner = Scanner::new(&one).unwrap();
        let mut stream = Stream::open(&other).unwrap();
        assert_eq!(scanner.scan(&mut stream, b"a"), None);
        assert_eq!(scanner.scan_end(&stream), None);
    }
}
