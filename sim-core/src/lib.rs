//! The simulated network of podhop.
pub mod observe;
