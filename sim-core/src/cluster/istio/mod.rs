//! Istio in a cluster: pods get a sidecar where their namespace says so ([`inject`]), with the rules that istio-init
//! writes ([`rules`]), and istiod tells each sidecar's proxy what it is to do ([`pilot`]), as people want it
//! ([`policy`]).

pub mod inject;
pub mod pilot;
pub mod policy;
pub mod rules;

/// Istio's settings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Istio {
    /// Which one it is.
    pub version: Version,
    /// What proxies ask of who connects to their pods, where no PeerAuthentication says it.
    pub mtls: Mtls,
}

/// A version of Istio.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Version {
    /// 1.13.4
    #[default]
    V1_13,
    /// 1.30.3
    V1_30,
}

impl Version {
    /// As images are tagged.
    pub fn number(self) -> &'static str {
        match self {
            Version::V1_13 => "1.13.4",
            Version::V1_30 => "1.30.3",
        }
    }
}

/// `spec.mtls.mode` of the mesh's PeerAuthentication.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mtls {
    /// Mutual TLS and plain text are taken.
    #[default]
    Permissive,
    /// Mutual TLS alone.
    Strict,
    /// Plain text alone.
    Disable,
}

#[cfg(test)]
mod tests;
