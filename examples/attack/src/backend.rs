//! The server behind the relay, as a process of its own: each process has its own limit of descriptors, and its own
//! share of the processor.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::Stdio;

use demuxbuf::framing::h2::MAX_FRAME_SIZE_MAX;
use demuxbuf_demo::server::Server;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::priority::{self, Above};

/// The largest frame that may be sent to it is the largest that HTTP/2 has, so that to announce one is no error.
pub(crate) const LARGEST_FRAME: u32 = MAX_FRAME_SIZE_MAX;

/// Paths that are requested: a small response, and one that more than fills the sockets of a slow reader.
pub(crate) const SMALL: &str = "/bytes/100";
pub(crate) const LARGE: &str = "/bytes/65536";

/// A running server; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    _process: Child,
}

impl Backend {
    pub(crate) async fn start() -> Result<Backend, String> {
        let explain = |error: std::io::Error| format!("the server: {error}");
        let program = std::env::current_exe().map_err(explain)?;
        let mut command = Command::new(program);
        command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().map_err(explain)?;
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped"));
        output.read_line(&mut line).await.map_err(explain)?;
        let address = line.trim_end().parse();
        let address = address.map_err(|_| format!("no address in the first line of the server: {line:?}"))?;
        Ok(Backend { address, _process: process })
    }
}

/// Serves until standard input ends, at the latest when the parent process ends.
pub(crate) fn serve() -> Result<(), String> {
    let explain = |error: std::io::Error| format!("the server: {error}");
    let _above = Above::relay(priority::SERVER).map_err(explain)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(explain)?;
    runtime.block_on(async {
        let server = Server::start(LARGEST_FRAME).map_err(explain)?;
        let mut output = std::io::stdout();
        writeln!(output, "{}", server.address).and_then(|()| output.flush()).map_err(explain)?;
        let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(explain)?;
        let mut input = pipe::Receiver::from_owned_fd(input).map_err(explain)?;
        let mut nothing = [0; 1];
        input.read(&mut nothing).await.map_err(explain)?;
        Ok(())
    })
}
