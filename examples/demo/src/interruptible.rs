//! Work that can be interrupted without leaving anything behind.

use tokio::signal::unix::{SignalKind, signal};

/// The exit status of an interrupted program, as in a shell.
pub const INTERRUPTED: u8 = 130;

/// Does the work on this thread; `None` if Ctrl-C or a request to end came first. All that it started has then been
/// dropped with it.
///
/// # Errors
///
/// Those of the work, or there is no event loop for it.
pub fn run<T>(work: impl Future<Output = Result<T, String>>) -> Result<Option<T>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no event loop: {error}"))?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done.map(Some),
            interrupted = interrupt() => interrupted.map(|()| None),
        }
    })
}

/// Waits for Ctrl-C or a request to end.
async fn interrupt() -> Result<(), String> {
    let handler = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
    let (mut interrupt, mut terminate) = (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
