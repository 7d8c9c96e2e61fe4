//! Times that may be never: `None` in Rust, `UINT64_MAX` in C.

/// A time as C passes it.
pub(super) fn from_c(ns: u64) -> Option<u64> {
    Some(ns).filter(|&ns| ns != u64::MAX)
}

/// A time for C. The last one that there is comes as the one before it, which C can distinguish from never: a host that
/// is early by a nanosecond loses nothing.
pub(super) fn to_c(ns: Option<u64>) -> u64 {
    ns.map_or(u64::MAX, |ns| ns.min(u64::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_largest_number_of_c_is_never() {
        for ns in [0, 1, u64::MAX - 1] {
            assert_eq!((from_c(ns), to_c(Some(ns))), (Some(ns), ns));
        }
        assert_eq!((from_c(u64::MAX), to_c(None), to_c(Some(u64::MAX))), (None, u64::MAX, u64::MAX - 1));
    }
}
