//! One connection of a server on rustls, below the frames: bytes in, bytes out, and what waits for room in the socket.

use clap::{Parser, error::ErrorKind::ValueValidation};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// The largest record's payload. No more is given to rustls at a time, so that it holds at most one record to send.
const PAYLOAD_BYTES_MAX: usize = 16_384;

/// The certificate of a server.
#[derive(Clone, Debug, Parser)]
pub struct Identity {
    /// Certificate, in PEM form.
    #[arg(long, overrides_with = "certificate")]
    certificate: PathBuf,
    /// Its private key, in PEM form.
    #[arg(long, overrides_with = "key")]
    key: PathBuf,
}

impl Identity {
    /// The settings of a server. Prints what is allowed and exits with status 2 if the files cannot be read, or do not
    /// belong together.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.try_server_config().unwrap_or_else(|error| {
            let message = format!("--certificate and --key need files in PEM form that belong together: {error}\n");
            clap::Error::raw(ValueValidation, message).exit()
        })
    }

    fn try_server_config(&self) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
        let certificate = CertificateDer::from_pem_file(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// What a receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This many bytes, at least one.
    Received(usize),
    /// Nothing, neither in rustls nor in the socket.
    WouldBlock,
    /// Nothing, before what rustls has to send is sent.
    WritesFirst,
    /// The end, with a close_notify.
    End,
    /// The end without one, which any machine between the two can make.
    Truncated,
    /// An error.
    Broken,
}

/// A connection on this socket.
pub struct TlsStream<S> {
    socket: S,
    tls: ServerConnection,
    /// There can be no close_notify.
    is_broken: bool,
}

impl<S> TlsStream<S>
where
    for<'a> &'a S: Read + Write,
{
    /// The first receives greet.
    ///
    /// # Errors
    ///
    /// The settings do not go together.
    pub fn new(config: Arc<ServerConfig>, socket: S) -> Result<TlsStream<S>, rustls::Error> {
        Ok(TlsStream { socket, tls: ServerConnection::new(config)?, is_broken: false })
    }

    /// Fills as much of the memory as rustls has bytes for, else asks the socket.
    pub fn receive(&mut self, area: &mut [u8]) -> Outcome {
        let outcome = self.try_receive(area);
        self.is_broken |= matches!(outcome, Outcome::Truncated | Outcome::Broken);
        outcome
    }

    fn try_receive(&mut self, area: &mut [u8]) -> Outcome {
        loop {
            match self.tls.reader().read(area) {
                Ok(0) => return Outcome::End,
                Ok(bytes) => return Outcome::Received(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Outcome::Truncated,
                Err(_) => return Outcome::Broken,
            }
            // A peer that asks for answers and does not read them is not read either.
            match self.flush() {
                Ok(true) => {}
                Ok(false) => return Outcome::WritesFirst,
                Err(_) => return Outcome::Broken,
            }
            match self.tls.read_tls(&mut &self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::WouldBlock,
                Err(_) => return Outcome::Broken,
            }
            if self.tls.process_new_packets().is_err() {
                let _ = self.flush(); // the alert, if there is room
                return Outcome::Broken;
            }
        }
    }

    /// Sends some of these bytes, at least one.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: what was given to rustls before is not sent. Else the connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let accepted = self.tls.writer().write(&bytes[..bytes.len().min(PAYLOAD_BYTES_MAX)])?;
        self.flush()?;
        Ok(accepted)
    }

    /// Queues the close_notify, if there is to be one, which `flush` sends.
    pub fn close(&mut self) {
        if !self.is_broken {
            self.tls.send_close_notify();
        }
    }

    /// Sends what rustls has to send; false if the socket is full.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut &self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
