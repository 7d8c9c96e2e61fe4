//! Tables: reserved once, filled in the order of their first use.

use super::pages::prefer_large_pages;
use crate::config_error::ConfigError;
use alloc::vec::Vec;

/// The smallest table for which large pages are asked for, in bytes. What is smaller, a processor's address translation
/// mostly knows by heart; and however few rows of a table are used, they take up a large page where they would a small
/// one.
const LARGE_BYTES: usize = 32 << 20;

/// An empty table with room for this number of rows. No page is touched before its first use, and then a large one, of
/// 2 MiB, at a time if there are many rows and the system grants such pages on request: rows of connections are used in
/// no order, so with small pages nearly each use would wait for the address as well, twice in a virtual machine.
pub(crate) fn reserve<T>(field: &'static str, rows: u32) -> Result<Vec<T>, ConfigError> {
    let mut table = Vec::new();
    let reserved = table.try_reserve_exact(rows as usize);
    reserved.map_err(|_| ConfigError::out_of_memory::<T>(field, rows as usize))?;
    let room = table.spare_capacity_mut();
    if size_of_val(room) >= LARGE_BYTES {
        prefer_large_pages(room);
    }
    Ok(table)
}

#[cfg(all(test, target_os = "linux", feature = "std", not(miri)))]
mod tests {
    use super::*;
    use std::fs::read_to_string;

    /// Whether large pages were asked for in the middle of a table: the system says `hg` of its mapping.
    fn prefers_large_pages<T>(table: &mut Vec<T>) -> bool {
        let room = table.spare_capacity_mut().as_ptr_range();
        let middle = room.start.addr().midpoint(room.end.addr());
        let maps = read_to_string("/proc/self/smaps").expect("Linux has it");
        let mut lines = maps.lines().skip_while(|line| {
            let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
            let [start, end] =
                range.map_or([None; 2], |(start, end)| [start, end].map(|at| usize::from_str_radix(at, 16).ok()));
            start.is_none_or(|start| middle < start) || end.is_none_or(|end| end <= middle)
        });
        let flags = lines.find_map(|line| line.strip_prefix("VmFlags:")).expect("the table is in a mapping");
        flags.split_whitespace().any(|flag| flag == "hg")
    }

    #[test]
    fn large_pages_are_asked_for_where_a_table_is_large() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            return println!("skipped: this system has no large pages on request");
        }
        let [mut large, mut small] =
            [0, 8].map(|less| reserve::<u64>("rows", (LARGE_BYTES - less) as u32 / 8).expect("there is memory"));
        assert_eq!([prefers_large_pages(&mut large), prefers_large_pages(&mut small)], [true, false]);
        // Both were only reserved.
        assert_eq!((large.len(), large.capacity() * 8), (0, LARGE_BYTES));
    }
}
