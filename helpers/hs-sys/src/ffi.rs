//! The functions as C declares them.
//!
//! Written by hand: there are a dozen, and their interface has been the same since release 5.0.

use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};

/// Everything went well.
pub const SUCCESS: c_int = 0;
/// The callback has asked to stop.
pub const SCAN_TERMINATED: c_int = -3;
/// Letters match in either case.
pub const FLAG_CASELESS: c_uint = 1;
/// A dot matches a newline.
pub const FLAG_DOTALL: c_uint = 2;
/// An expression is reported once for each stream.
pub const FLAG_SINGLEMATCH: c_uint = 8;
/// The database is for streams.
pub const MODE_STREAM: c_uint = 2;

/// `hs_database_t`.
#[repr(C)]
pub struct Database {
    _opaque: [u8; 0],
}

/// `hs_scratch_t`.
#[repr(C)]
pub struct Scratch {
    _opaque: [u8; 0],
}

/// `hs_stream_t`.
#[repr(C)]
pub struct Stream {
    _opaque: [u8; 0],
}

/// `hs_compile_error_t`.
#[repr(C)]
pub struct CompileError {
    /// What is wrong, ended by a NUL.
    pub message: *const c_char,
    /// Which expression, negative if it is none in particular.
    pub expression: c_int,
}

/// `match_event_handler`: whether to stop.
pub type Handler = unsafe extern "C" fn(
    id: c_uint,
    from: c_ulonglong,
    to: c_ulonglong,
    flags: c_uint,
    context: *mut c_void,
) -> c_int;

#[expect(missing_docs, reason = "they are what the manual of Vectorscan says")]
unsafe extern "C" {
    pub fn hs_valid_platform() -> c_int;
    pub fn hs_compile_multi(
        expressions: *const *const c_char,
        flags: *const c_uint,
        ids: *const c_uint,
        elements: c_uint,
        mode: c_uint,
        platform: *const c_void,
        db: *mut *mut Database,
        error: *mut *mut CompileError,
    ) -> c_int;
    pub fn hs_free_compile_error(error: *mut CompileError) -> c_int;
    pub fn hs_free_database(db: *mut Database) -> c_int;
    pub fn hs_database_size(db: *const Database, size: *mut usize) -> c_int;
    pub fn hs_stream_size(db: *const Database, size: *mut usize) -> c_int;
    pub fn hs_alloc_scratch(db: *const Database, scratch: *mut *mut Scratch) -> c_int;
    pub fn hs_free_scratch(scratch: *mut Scratch) -> c_int;
    pub fn hs_open_stream(db: *const Database, flags: c_uint, stream: *mut *mut Stream) -> c_int;
    pub fn hs_scan_stream(
        stream: *mut Stream,
        data: *const c_char,
        length: c_uint,
        flags: c_uint,
        scratch: *mut Scratch,
        handler: Option<Handler>,
        context: *mut c_void,
    ) -> c_int;
    pub fn hs_close_stream(
        stream: *mut Stream,
        scratch: *mut Scratch,
        handler: Option<Handler>,
        context: *mut c_void,
    ) -> c_int;
    pub fn hs_reset_stream(
        stream: *mut Stream,
        flags: c_uint,
        scratch: *mut Scratch,
        handler: Option<Handler>,
        context: *mut c_void,
    ) -> c_int;
    pub fn hs_reset_and_copy_stream(
        to: *mut Stream,
        from: *const Stream,
        scratch: *mut Scratch,
        handler: Option<Handler>,
        context: *mut c_void,
    ) -> c_int;
    pub fn hs_set_allocator(
        alloc: Option<unsafe extern "C" fn(usize) -> *mut c_void>,
        free: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> c_int;
}
