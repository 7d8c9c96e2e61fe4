//! An echo server on tokio, on several threads, each with a shard of a shared pool. [`demuxbuf_embed::tasks`] has its
//! loop.

use clap::{Parser, error::ErrorKind};
use demuxbuf::connection::Mode;
use demuxbuf::shared::SharedPool;
use demuxbuf_embed::server::{Options, Summary};
use demuxbuf_embed::tasks::Host;
use std::error::Error;
use std::net::TcpListener as StdListener;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;

#[derive(Parser)]
struct ThreadsOptions {
    #[command(flatten)]
    common: Options,
    /// Threads, which share the memory.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    threads: u32,
}

/// What all threads have in common.
struct Common {
    shared_pool: SharedPool,
    listener: StdListener,
    signals: Arc<Vec<Notify>>,
    /// Ends with its sender.
    stop: watch::Receiver<()>,
    /// All threads have closed their connections.
    closed: Barrier,
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Serves what this thread accepts. The threads listen on one socket, and the first to accept has the connection.
fn serve(common: &Common, thread: u32) -> Result<Summary, Box<dyn Error>> {
    let host = Host::new(common.shared_pool.shard(thread)?, thread as usize, common.signals.clone());
    let mut stop = common.stop.clone();
    LocalSet::new().block_on(&runtime()?, async {
        let listener = TcpListener::from_std(common.listener.try_clone()?)?;
        host.serve(listener, stop.changed()).await
    })?;
    common.closed.wait();
    Ok(host.summary())
}

/// A thread that fails ends the process: the others would wait for it.
fn serve_or_exit(common: &Common, thread: u32) -> Summary {
    serve(common, thread).unwrap_or_else(|error| {
        eprintln!("thread {thread}: {error}");
        std::process::exit(1)
    })
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let ThreadsOptions { common: options, threads } = ThreadsOptions::parse();
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, stop) = watch::channel(());
    let common = Common {
        // tokio's read interest lasts from one `WouldBlock` to the next report: one-shot.
        shared_pool: SharedPool::new(&options.pool_config(Mode::OneShot), threads).unwrap_or_else(|error| {
            let message = format!("--memory-kib is {}: {error}\n", options.memory_kib);
            clap::Error::raw(ErrorKind::ValueValidation, message).exit()
        }),
        listener: options.listen()?,
        signals: Arc::new((0..threads).map(|_| Notify::new()).collect()),
        stop,
        closed: Barrier::new(threads as usize),
    };
    let leased_always = common.shared_pool.stats().scheduler.leased;
    let summary = std::thread::scope(|scope| {
        let serve = |thread| {
            scope.spawn({
                let common = &common;
                move || serve_or_exit(common, thread)
            })
        };
        let workers: Vec<_> = (0..threads).map(serve).collect();
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        drop(sender);
        workers.into_iter().map(|worker| worker.join().expect("it exits instead of failing")).reduce(Summary::and)
    });
    common.shared_pool.check_invariants()?;
    let leased = common.shared_pool.stats().scheduler.leased - leased_always;
    Ok(summary.map_or(ExitCode::FAILURE, |summary| summary.finish(leased)))
}
