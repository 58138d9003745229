//! errno(3): how a system call or a netlink request fails. `Display` prints what strerror(3) prints.

use super::netfilter::error::Refused;
use std::borrow::Cow;
use std::fmt;

macro_rules! errno {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// An error number of Linux, under its own name.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
        #[allow(clippy::upper_case_acronyms, reason = "Linux's own names")]
        #[repr(i32)]
        pub enum Errno {
            $($(#[$doc])* #[doc = $text] $name = $number,)*
        }

        impl Errno {
            /// The number, as it stands in the kernel's headers (asm-generic/errno.h).
            pub fn number(self) -> i32 {
                self as i32
            }

            /// The symbol: `ENETUNREACH`.
            pub fn name(self) -> &'static str {
                match self { $(Errno::$name => stringify!($name),)* }
            }

            /// glibc's text: `Network is unreachable`.
            pub fn text(self) -> &'static str {
                match self { $(Errno::$name => $text,)* }
            }
        }
    };
}

errno! {
    EPERM = 1, "Operation not permitted";
    ENOENT = 2, "No such file or directory";
    ESRCH = 3, "No such process";
    EINTR = 4, "Interrupted system call";
    ENXIO = 6, "No such device or address";
    E2BIG = 7, "Argument list too long";
    EBADF = 9, "Bad file descriptor";
    EAGAIN = 11, "Resource temporarily unavailable";
    ENOMEM = 12, "Cannot allocate memory";
    EACCES = 13, "Permission denied";
    EBUSY = 16, "Device or resource busy";
    EEXIST = 17, "File exists";
    ENODEV = 19, "No such device";
    EISDIR = 21, "Is a directory";
    EINVAL = 22, "Invalid argument";
    ENFILE = 23, "Too many open files in system";
    EMLINK = 31, "Too many links";
    EPIPE = 32, "Broken pipe";
    ENOSPC = 28, "No space left on device";
    ERANGE = 34, "Numerical result out of range";
    ENOTEMPTY = 39, "Directory not empty";
    ELOOP = 40, "Too many levels of symbolic links";
    EPROTO = 71, "Protocol error";
    EDESTADDRREQ = 89, "Destination address required";
    EMSGSIZE = 90, "Message too long";
    ENOPROTOOPT = 92, "Protocol not available";
    EPROTONOSUPPORT = 93, "Protocol not supported";
    EOPNOTSUPP = 95, "Operation not supported";
    EAFNOSUPPORT = 97, "Address family not supported by protocol";
    EADDRINUSE = 98, "Address already in use";
    EADDRNOTAVAIL = 99, "Cannot assign requested address";
    ENETDOWN = 100, "Network is down";
    ENETUNREACH = 101, "Network is unreachable";
    ECONNABORTED = 103, "Software caused connection abort";
    ECONNRESET = 104, "Connection reset by peer";
    ENOBUFS = 105, "No buffer space available";
    EISCONN = 106, "Transport endpoint is already connected";
    ENOTCONN = 107, "Transport endpoint is not connected";
    ETIMEDOUT = 110, "Connection timed out";
    ECONNREFUSED = 111, "Connection refused";
    EHOSTDOWN = 112, "Host is down";
    EHOSTUNREACH = 113, "No route to host";
    EALREADY = 114, "Operation already in progress";
    EINPROGRESS = 115, "Operation now in progress";
    EREMOTEIO = 121, "Remote I/O error";
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Errno {}

/// How the kernel refuses a netlink request: a number, and for many requests a sentence (`NL_SET_ERR_MSG`), which
/// iproute2 prints instead of the number's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NlError {
    /// The error number.
    pub errno: Errno,
    /// The extended acknowledgement's text, without a final full stop.
    pub message: Option<Cow<'static, str>>,
    /// Of a request about iptables' rules: what iptables makes of the refusal.
    pub rules: Option<Box<Refused>>,
}

impl NlError {
    /// An error with an extended acknowledgement.
    pub fn ext(errno: Errno, message: &'static str) -> Self {
        NlError { errno, message: Some(Cow::Borrowed(message)), rules: None }
    }
}

impl From<Errno> for NlError {
    fn from(errno: Errno) -> Self {
        NlError { errno, message: None, rules: None }
    }
}

impl From<Refused> for NlError {
    fn from(refused: Refused) -> Self {
        NlError { errno: refused.error.errno(), message: None, rules: Some(Box::new(refused)) }
    }
}

impl fmt::Display for NlError {
    /// As iproute2 prints it (lib/libnetlink.c: rtnl_talk).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(text) => write!(f, "Error: {text}."),
            None => write!(f, "RTNETLINK answers: {}", self.errno),
        }
    }
}

impl std::error::Error for NlError {}
