//! podhop in a page: the library behind four functions of WebAssembly. `web-viz/src/podhop.js` is their caller.
//!
//! A **buffer** is a piece of linear memory: its length (u32, little-endian), and so many bytes. It is known by its
//! address.
//!
//! | function | what it does |
//! |---|---|
//! | `podhop_alloc(length)` | makes a buffer of zeros; 0 if it is longer than [`MAX_REQUEST_BYTES`] or the memory |
//! | `podhop_check(request)` | finds every error in a scenario |
//! | `podhop_run(request)` | runs a scenario |
//! | `podhop_free(buffer)` | ends a buffer |
//!
//! A call takes a request's buffer, which is gone then, and gives a reply's, which the caller ends. What stands in them
//! is told in `calls.rs`, and how files lie in them in `bundle.rs`.
//!
//! Nothing that a request holds makes a call panic; if one does all the same, it is our bug: `podhop.panicked(address,
//! length)`, which the caller imports, is told the message in UTF-8, and the call ends in a trap. So does one that runs
//! out of memory or stack. What is left in the instance is of no use then; a new one is as good as the first. A call
//! that takes too long is ended with the worker that it runs in.

#![allow(unsafe_code, reason = "the border of WebAssembly: buffers go through it as addresses")]

mod bundle;
mod calls;

use std::ptr;

/// No request is longer, in bytes (64 MiB).
pub const MAX_REQUEST_BYTES: usize = 64 << 20;

/// The length of the number before a buffer's bytes.
const HEAD: usize = 4;

/// Makes a buffer of `length` zeros. Null if there can be none.
#[unsafe(no_mangle)]
pub extern "C" fn podhop_alloc(length: usize) -> *mut u8 {
    if length > MAX_REQUEST_BYTES {
        return ptr::null_mut();
    }
    let mut bytes = vec![];
    if bytes.try_reserve_exact(HEAD + length).is_err() {
        return ptr::null_mut();
    }
    bytes.resize(HEAD + length, 0);
    give(bytes)
}

/// Ends a buffer.
///
/// # Safety
/// It is one, and its length is as it was given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn podhop_free(buffer: *mut u8) {
    // SAFETY: as the caller promises.
    drop(unsafe { take(buffer) });
}

/// Finds every error in a scenario.
///
/// # Safety
/// `request` is a buffer, and its length is as it was given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn podhop_check(request: *mut u8) -> *mut u8 {
    // SAFETY: as the caller promises.
    let request = unsafe { take(request) };
    call(&request, calls::check)
}

/// Runs a scenario.
///
/// # Safety
/// `request` is a buffer, and its length is as it was given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn podhop_run(request: *mut u8) -> *mut u8 {
    // SAFETY: as the caller promises.
    let request = unsafe { take(request) };
    call(&request, calls::run)
}

/// Carries out a call; the buffer of its reply.
fn call(request: &[u8], call: fn(&[u8], &mut Vec<u8>)) -> *mut u8 {
    #[cfg(target_family = "wasm")]
    panics::tell();
    let mut reply = vec![0; HEAD];
    call(&request[HEAD..], &mut reply);
    give(reply)
}

/// Hands a buffer to the caller, with its length in the bytes that are left for it.
fn give(mut bytes: Vec<u8>) -> *mut u8 {
    // Linear memory has 4 GiB at most.
    let length = (bytes.len() - HEAD) as u32;
    bytes[..HEAD].copy_from_slice(&length.to_le_bytes());
    Box::into_raw(bytes.into_boxed_slice()).cast()
}

/// Takes a buffer from the caller.
///
/// # Safety
/// It came from [`give`], was not taken since, and its length is as it was.
unsafe fn take(buffer: *mut u8) -> Box<[u8]> {
    // SAFETY: a buffer begins with its length, whatever its address.
    let length = u32::from_le_bytes(unsafe { buffer.cast::<[u8; HEAD]>().read() });
    // SAFETY: so long was the boxed slice that `give` took apart.
    unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(buffer, HEAD + length as usize)) }
}

/// What becomes of a panic's message: without this it is lost in the trap.
#[cfg(target_family = "wasm")]
mod panics {
    #[link(wasm_import_module = "podhop")]
    unsafe extern "C" {
        /// Hears a message of so many bytes at an address.
        fn panicked(message: *const u8, length: usize);
    }

    /// From now on the caller is told why a call ended in a trap.
    pub(crate) fn tell() {
        std::panic::set_hook(Box::new(|info| {
            let text = info.to_string();
            // SAFETY: the text lives until it was heard.
            unsafe { panicked(text.as_ptr(), text.len()) };
        }));
    }
}
