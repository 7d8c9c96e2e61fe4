//! An echo server on tokio, on one thread. [`demuxbuf_embed::tasks`] has its loop.

use clap::Parser;
use demuxbuf::connection::Mode;
use demuxbuf::pool::Pool;
use demuxbuf_embed::server::Options;
use demuxbuf_embed::tasks::Host;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;

async fn serve(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // tokio's read interest lasts from one `WouldBlock` to the next report: one-shot.
    let pool_config = options.pool_config(Mode::OneShot);
    let host = Host::new(Pool::new(&pool_config)?, 0, Arc::new(vec![Notify::new()]));
    host.serve(TcpListener::from_std(options.listen()?)?, stop).await?;
    host.check_invariants()?;
    Ok(host.summary().finish(host.leased() - pool_config.split()?.always))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    LocalSet::new().run_until(serve(Options::parse())).await
}
