//! The version of library and header.

use super::guard::guarded_or;

/// Version of the library in use, as `(major << 16) | (minor << 8) | patch`; compare with `DEMUXBUF_VERSION`.
/// Thread rule: any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn demuxbuf_version() -> u32 {
    guarded_or(0, || (DEMUXBUF_VERSION_MAJOR << 16) | (DEMUXBUF_VERSION_MINOR << 8) | DEMUXBUF_VERSION_PATCH)
}

/// Major version of the header.
pub const DEMUXBUF_VERSION_MAJOR: u32 = 0;
/// Minor version of the header.
pub const DEMUXBUF_VERSION_MINOR: u32 = 1;
/// Patch version of the header.
pub const DEMUXBUF_VERSION_PATCH: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_package_version() {
        let text = format!("{DEMUXBUF_VERSION_MAJOR}.{DEMUXBUF_VERSION_MINOR}.{DEMUXBUF_VERSION_PATCH}");
        assert_eq!(text, env!("CARGO_PKG_VERSION"));
    }
}
