//! `h2relay` beside relays that Debian packages, those that are installed: each one thread (socat, a process for each
//! connection), between the same clients and the same server.
//!
//! They do less or more. haproxy, nginx and socat copy bytes of a stream and know no frames; nghttpx ends HTTP/2 on
//! both sides, with its header compression, and gives all clients one connection to the server.

use crate::counting::{COUNTED_CONNECTIONS, Counter, Start};
use crate::parties::{Backend, Load, Relay, unused_address};
use crate::ratio::Ratio;
use crate::support::{Error, Options, Report, Samples, folder, rotated};
use demuxbuf_ffi_tests::try_run;
use serde_json::{Value, json};
use std::fs::write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const REQUESTS: u32 = 20_000;
/// Where Debian's package `libnginx-mod-stream` has it.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    H2relay,
    Haproxy,
    Nginx,
    Nghttpx,
    Socat,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Kind::H2relay => "h2relay",
            Kind::Haproxy => "haproxy, mode tcp",
            Kind::Nginx => "nginx, stream",
            Kind::Nghttpx => "nghttpx, HTTP/2",
            Kind::Socat => "socat, fork",
        }
    }

    /// Whether it can run here; prints a line if not.
    fn is_there(self) -> bool {
        let (program, option, package) = match self {
            Kind::H2relay => return true,
            Kind::Haproxy => ("haproxy", "-v", "haproxy"),
            Kind::Nginx => ("nginx", "-v", "nginx"),
            Kind::Nghttpx => ("nghttpx", "--version", "nghttp2-proxy"),
            Kind::Socat => ("socat", "-V", "socat"),
        };
        if try_run(Command::new(program).arg(option)).is_err() {
            println!("skipped: the relay beside {program}, {package} is not installed");
            return false;
        }
        if self == Kind::Nginx && !Path::new(NGINX_STREAM).exists() {
            println!("skipped: the relay beside nginx, libnginx-mod-stream is not installed");
            return false;
        }
        true
    }

    /// How it is started between this address and the server.
    fn command(self, relay: &Path, backend: &Backend, connections: u32) -> Result<Start, Error> {
        let at = unused_address()?;
        Ok(match self {
            Kind::H2relay => (Relay::command(relay, backend, connections), None),
            Kind::Haproxy => (haproxy(at, backend.address, connections)?, Some(at)),
            Kind::Nginx => (nginx(at, backend.address, connections)?, Some(at)),
            Kind::Nghttpx => (nghttpx(at, backend.address), Some(at)),
            Kind::Socat => (socat(at, backend.address), Some(at)),
        })
    }

    /// Requests per second.
    fn run(self, relay: &Path, backend: &Backend, connections: u32, requests: u32) -> Result<f64, Error> {
        let (mut command, address) = self.command(relay, backend, connections)?;
        let relay = Relay::start(&mut command, address).map_err(|error| format!("{}: {error}", self.title()))?;
        let load = Load::run(relay.address, connections, requests)?;
        // How it ends by a signal differs from one to another.
        relay.stop()?;
        Ok(load.per_second)
    }
}

fn haproxy(address: SocketAddr, backend: SocketAddr, connections: u32) -> Result<Command, Error> {
    let file = folder().join("haproxy.cfg");
    let connections = connections + 10;
    let text = format!(
        "global\n nbthread 1\n maxconn {connections}\ndefaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n \
         timeout server 60s\nlisten relay\n bind {address}\n server backend {backend}\n"
    );
    write(&file, text)?;
    let mut command = Command::new("haproxy");
    // In the foreground.
    command.args(["-db", "-q", "-f"]).arg(file);
    Ok(command)
}

fn nginx(address: SocketAddr, backend: SocketAddr, connections: u32) -> Result<Command, Error> {
    let (file, place) = (folder().join("nginx.conf"), folder());
    let descriptors = 2 * connections + 20;
    let text = format!(
        "load_module {NGINX_STREAM};\ndaemon off;\nmaster_process off;\npid {}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections {descriptors}; }}\n\
         stream {{ server {{ listen {address}; proxy_pass {backend}; }} }}\n",
        place.display()
    );
    write(&file, text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(place).arg("-e").arg("stderr").arg("-c").arg(file);
    Ok(command)
}

fn nghttpx(address: SocketAddr, backend: SocketAddr) -> Command {
    let mut command = Command::new("nghttpx");
    command.args(["--conf=/dev/null", "--single-process", "--workers=1", "--errorlog-file=/dev/stderr"]);
    command.arg(format!("--frontend={},{};no-tls", address.ip(), address.port()));
    command.arg(format!("--backend={},{};;proto=h2", backend.ip(), backend.port()));
    command
}

fn socat(address: SocketAddr, backend: SocketAddr) -> Command {
    let mut command = Command::new("socat");
    command.arg(format!("TCP-LISTEN:{},bind={},fork,reuseaddr,backlog=1024", address.port(), address.ip()));
    command.arg(format!("TCP:{backend}"));
    command
}

pub(crate) fn compare(options: &Options, counter: &Counter, relay: &Path, backend: &Backend) -> Result<(), Error> {
    let kinds = [Kind::H2relay, Kind::Haproxy, Kind::Nginx, Kind::Nghttpx, Kind::Socat];
    let kinds: Vec<Kind> = kinds.into_iter().filter(|kind| kind.is_there()).collect();
    let columns = ["relay", "requests/s", "least", "most", "to h2relay", "with 95 %", "instructions", "system calls"];
    let mut report = Report::new("relay-others", &columns, options);
    let (rounds, requests) = (options.pick(1, 8, 24), options.pick(400, REQUESTS, REQUESTS));
    let connections = options.pick(20, COUNTED_CONNECTIONS, COUNTED_CONNECTIONS);
    report.fact("rounds", rounds);
    report.fact("connections", connections);
    let mut runs: Vec<Vec<f64>> = kinds.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for at in rotated(round, kinds.len()) {
            runs[at].push(kinds[at].run(relay, backend, connections, requests)?);
        }
    }
    for (kind, of) in kinds.iter().zip(&runs) {
        let start = || kind.command(relay, backend, connections);
        // A process for each connection is more than one that callgrind counts.
        let is_counted = !options.smoke && *kind != Kind::Socat;
        let instructions = if is_counted { counter.instructions(connections, start)? } else { None };
        let mut per_second = Samples::new();
        of.iter().for_each(|&run| per_second.record(run));
        let mut cells: Vec<Value> = vec![json!(kind.title())];
        cells.extend([0.5, 0.0, 1.0].map(|quantile| json!(per_second.at(quantile))));
        cells.extend(Ratio::new(of.iter().zip(&runs[0]).map(|(run, first)| run / first)).cells());
        cells.push(json!(instructions.map(|count| count.round() as i64)));
        cells.push(json!(counter.system_calls(connections, start)?));
        report.row(cells);
    }
    report.finish();
    Ok(())
}
