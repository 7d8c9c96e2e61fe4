//! The oracle: a slow, obviously right model of demuxbuf, and what plays the same operations on the model, on the Rust
//! API and on the C API, so that their answers can be compared.
//!
//! | part | what it is |
//! |---|---|
//! | [`Op`] | one thing that a host may do; names handles by [`Which`], so that one list of operations fits every subject |
//! | [`Subject`] | what can be played on: [`ModelReceivers`], [`ModelPool`], [`RustReceivers`], [`RustPool`], [`CReceivers`] |
//! | [`Player`] | plays operations on one subject and says what it answered, free of the subject's own handle numbers |
//! | [`Duel`] | plays on the model and on a subject at once, and compares everything that can be seen after each step |
//! | [`ModelConnection`] | the model of the connection machine alone |
//! | [`explore`] | visits every state of a small [`World`] until no new one appears |
//! | [`targets`] | what the fuzzers run, and the tests replay |
//!
//! The model is written from the contract: the tables in the docs of `demuxbuf::connection` and the rules in those of
//! `demuxbuf::pool` and `demuxbuf::receiver`. It shares no code with them but the types that inputs are made of. It
//! counts in plain queues and keeps the bytes themselves, so that what a receiver shows is compared byte by byte.

mod duel;
mod facts;
mod model;
mod op;
mod player;
mod search;
mod subject;
pub mod targets;

pub use duel::{Duel, check_refusal};
pub use facts::{Facts, check_facts};
pub use model::{ModelConnection, ModelPool, ModelReceivers};
pub use op::{Op, Which};
pub use player::{Player, Reply, What};
pub use search::{Explored, World, explore};
pub use subject::{
    Ask, Asked, CConnection, CReceivers, Cell, Demand, Granted, Info, RustPool, RustReceivers, Step, Subject, Taken,
};
