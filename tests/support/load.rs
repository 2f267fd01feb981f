//! The whole program under load: one life of it, a producer beside it, and choices by a seed. For tests that break something
//! meanwhile and ask the checker at the end.

#![allow(dead_code, reason = "every test is a crate of its own and uses its part of this")]

#[path = "load/operator.rs"]
pub(crate) mod operator;
#[path = "load/producer.rs"]
pub(crate) mod producer;
#[path = "load/random.rs"]
pub(crate) mod random;
