//! The oracle: a slow, obviously right model of demuxbuf, and what plays the same operations on the model, on the Rust
//! API and on the C API, so that their answers can be compared.
//!
//! | part | what it is |
//! |---|---|
//! | [`Op`] | one thing that a host may do; names handles by [`HandleRef`], so that one list of operations fits every system |
//! | [`System`] | what operations are played on: [`ModelPool`], [`ModelScheduler`], [`RustPool`], [`RustScheduler`], [`CPool`] |
//! | [`Driver`] | plays operations on one system and returns what it answered, free of the system's own handle numbers |
//! | [`Differential`] | plays on the model and on a system at once, and compares everything that can be seen after each step |
//! | [`ModelPool`] | the model of a pool: [`ModelConnection`], [`ModelReceiving`] and [`ModelScheduler`] together |
//! | [`ModelReceiving`] | the model of the memory model (`docs/memory-model.md`), of which [`receiving_system`] has the calls |
//! | [`ModelConnection`] | the model of the connection machine alone |
//! | [`explore`] | visits every state of a bounded [`Instance`] until no new one appears |
//! | [`ReceivingDifferential`] | plays receives on the model of the memory model and on the core at once; [`Checked`] has the rules |
//! | [`SharedDifferential`] | plays on the model ([`ModelSharedPool`]) and on the pools of several threads at once |
//! | [`policy`] | the memory model under attack, in virtual time |
//! | [`targets`] | what the fuzzers run, and the tests replay |
//!
//! The model is written from the contract: the tables in the docs of `demuxbuf::connection`, the rules in those of
//! `demuxbuf::scheduler`, and `docs/memory-model.md`. It shares no code with them but the types that inputs are made
//! of. It counts in plain queues and keeps the bytes themselves, so that what a receiver shows is compared byte by
//! byte.

/// A value of a type that only its own crate builds by literal: a base, with these fields set.
macro_rules! filled {
    ($base:expr; $($field:ident: $value:expr),+ $(,)?) => {{
        let mut filled = $base;
        $(filled.$field = $value;)+
        filled
    }};
}

mod differential;
mod driver;
mod facts;
mod model;
mod op;
pub mod policy;
mod receiving_checks;
mod receiving_core;
mod receiving_differential;
mod receiving_ops;
pub mod receiving_system;
mod search;
mod shared_differential;
mod system;
pub mod targets;

pub use differential::{Differential, check_refusal};
pub use driver::{Driver, Reply, Response};
pub use facts::{Facts, check_facts};
pub use model::{Legal, ModelConnection, ModelExported, ModelPool, ModelReceiving, ModelScheduler, ModelSharedPool};
pub use op::{HandleRef, Op};
pub use receiving_checks::Checked;
pub use receiving_core::CoreReceiving;
pub use receiving_differential::ReceivingDifferential;
pub use receiving_ops::{Answer, Drawn, DrawnKind, ReceivingOp, opening, wind_up};
pub use search::{Explored, Instance, explore};
pub use shared_differential::SharedDifferential;
pub use system::{
    Ask, Asked, Attach, CConnection, CPool, Cell, Demand, Info, Notice, RustPool, RustScheduler, Step, System, Taken,
    ThreadSystem,
};
