//! A client that a test drives step by step, with TLS or without.

use crate::process::{PATIENCE, Running};
use demuxbuf_embed::stream::{client_config, server_name};
use rustls::ClientConnection;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A write that makes no progress for so long finds the sockets full.
const STUCK: Duration = Duration::from_millis(200);

/// A connection to a server.
pub(crate) enum Client {
    Plain(TcpStream),
    Tls(Box<TlsClient>),
}

/// TLS over a socket that does not block.
pub(crate) struct TlsClient {
    pub(crate) socket: TcpStream,
    pub(crate) tls: ClientConnection,
    /// A read for which nothing comes for so long fails.
    pub(crate) patience: Duration,
}

impl Client {
    pub(crate) fn connect(server: &Running) -> Client {
        let socket = TcpStream::connect(server.address).expect("it listens");
        match &server.certificate {
            None => {
                socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
                Client::Plain(socket)
            }
            Some(_) => Client::Tls(Box::new(TlsClient::on(server, socket))),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Client::Plain(socket) => socket,
            Client::Tls(client) => &client.socket,
        }
    }
}

impl TlsClient {
    /// After the handshake, on a socket that is connected to this server.
    pub(crate) fn on(server: &Running, socket: TcpStream) -> TlsClient {
        let certificate = server.certificate.as_deref().expect("a server that speaks TLS");
        let config = client_config(certificate).expect("a certificate");
        socket.set_nonblocking(true).expect("an option");
        socket.set_nodelay(true).expect("an option");
        let tls = ClientConnection::new(config, server_name()).expect("the settings are allowed");
        let mut client = TlsClient { socket, tls, patience: PATIENCE };
        client.wait(PATIENCE, |client| !client.tls.is_handshaking() && !client.tls.wants_write()).expect("a handshake");
        client
    }

    /// Moves records both ways until this holds.
    pub(crate) fn wait(&mut self, limit: Duration, holds: impl Fn(&mut TlsClient) -> bool) -> io::Result<()> {
        let mut moved = Instant::now();
        loop {
            let progress = self.exchange()?;
            if holds(self) {
                return Ok(());
            }
            if progress {
                moved = Instant::now();
            } else if moved.elapsed() > limit {
                return Err(ErrorKind::WouldBlock.into());
            } else {
                sleep(Duration::from_millis(1));
            }
        }
    }

    /// Writes and reads what the sockets take and have; whether that was anything.
    fn exchange(&mut self) -> io::Result<bool> {
        let mut moved = false;
        while self.tls.wants_write() && some(self.tls.write_tls(&mut self.socket))? > 0 {
            moved = true;
        }
        if self.tls.wants_read() && some(self.tls.read_tls(&mut self.socket))? > 0 {
            self.tls.process_new_packets().map_err(io::Error::other)?;
            moved = true;
        }
        Ok(moved)
    }

    /// Only writes, and reads nothing.
    pub(crate) fn write_out(&mut self) -> io::Result<()> {
        let mut moved = Instant::now();
        while self.tls.wants_write() {
            if some(self.tls.write_tls(&mut self.socket))? > 0 {
                moved = Instant::now();
            } else if moved.elapsed() > STUCK {
                return Err(ErrorKind::WouldBlock.into());
            } else {
                sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }
}

fn some(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

impl Read for Client {
    fn read(&mut self, area: &mut [u8]) -> io::Result<usize> {
        let client = match self {
            Client::Plain(socket) => return socket.read(area),
            Client::Tls(client) => client,
        };
        let deadline = Instant::now() + client.patience;
        loop {
            match client.tls.reader().read(area) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {}
                other => return other,
            }
            if !client.exchange()? {
                sleep(Duration::from_millis(1));
            }
        }
    }
}

impl Write for Client {
    /// With TLS, what is written while the sockets are full is sent by what follows.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Client::Plain(socket) => socket.write(bytes),
            Client::Tls(client) => {
                client.write_out()?;
                let written = client.tls.writer().write(bytes)?;
                let _ = client.write_out(); // the next write finds the sockets full
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Client::Plain(_) => Ok(()),
            Client::Tls(client) => client.wait(PATIENCE, |client| !client.tls.wants_write()),
        }
    }
}
