//! Which holder should release its buffer, so that a waiter is granted it?

mod by_tenant;
mod deadlines;

pub use deadlines::LeaseInfo;
pub(crate) use deadlines::{Deadlines, Demand, WaiterScope};
