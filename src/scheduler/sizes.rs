//! How many buffers of each size there are in one budget.

/// Entries that a table of the buffers of these sizes needs, each size given in units; `None` if the sum overflows.
pub(super) fn entries(units: u32, sizes: &[u32]) -> Option<u32> {
    sizes.iter().filter(|&&of_size| of_size > 0).map(|of_size| units / of_size).try_fold(0, u32::checked_add)
}
