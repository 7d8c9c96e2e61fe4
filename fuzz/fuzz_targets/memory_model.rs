#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|text: &[u8]| demuxbuf_fuzz::run("memory_model", text));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    demuxbuf_fuzz::mutate("memory_model", data, size, max_size, seed)
});
