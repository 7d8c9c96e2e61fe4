//! Puts a load on a server of this folder that runs already, and compares every byte.

use clap::Parser;
use demuxbuf_embed::load::{self, Load};
use std::net::Ipv4Addr;

/// Clients of every kind for an echo server of `examples/embed` on the loopback address.
#[derive(Parser)]
struct Options {
    /// Port of the server.
    #[arg(long)]
    port: u16,
    #[command(flatten)]
    load: Load,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let outcome = load::run((Ipv4Addr::LOCALHOST, options.port).into(), &options.load).await?;
    println!("{} bytes came back as they were sent", outcome.compared_bytes);
    println!("{} partial frames stayed until now", outcome.partial.len());
    Ok(())
}
