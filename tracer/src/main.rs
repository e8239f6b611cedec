//! Entry point of `cgtrace`.
fn main() {}
