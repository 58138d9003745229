//! Criterion benches of podhop; see `benches/`.
