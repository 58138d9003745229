//! Which Linux a kernel is (uname(2)). What is a sysctl is a sysctl, not a profile: a profile changes what no setting
//! can, and where settings begin.

/// Which Linux a kernel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// The default, and measured.
    #[default]
    Linux618,
    /// Not measured: TCP as in its source, and the captures of the time.
    ///
    /// Differs: TCP's windows, their growth, retries, timestamps and pieces are those of 4.18, all else is as in 6.18.
    Linux418,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 2] = [Profile::Linux618, Profile::Linux418];

    /// As scenarios name it.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Linux618 => "linux-6.18",
            Profile::Linux418 => "linux-4.18",
        }
    }
}
