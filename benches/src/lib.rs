//! Criterion benches and the lab benchmark of Turnpike.
