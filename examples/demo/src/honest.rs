//! Clients that do what clients do: connect, send request after request, check every byte of the answers, and now and
//! then connect anew.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::server::{pattern, read_body};

/// Clients at work at the same time, each on one connection.
pub(crate) const CLIENTS: usize = 16;

/// Each client begins a request this often, or when the one before has ended. A given rate makes the two runs
/// comparable, and leaves the processor to the relay.
const PACE: Duration = Duration::from_millis(20);

/// After this time a client gives a request up, and its connection with it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Real clients come and go: after so many requests a client opens a new connection, which must be served under attack
/// too.
const REQUESTS_PER_CONNECTION: u64 = 50;

/// More than two receive buffers of the usual size, less than a client's first flow-control window.
const LARGE_BODY_BYTES: usize = 40_000;
const SMALL_BODY_BYTES: usize = 100;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Served,
    /// No complete answer within the client's patience.
    TimedOut,
    /// The connection or the answer was wrong; why.
    Failed(String),
}

/// One request, from when its client began it; connecting is part of it.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) began: Instant,
    pub(crate) lasted: Duration,
    pub(crate) outcome: Outcome,
}

/// All requests of all clients so far.
pub(crate) type Log = Arc<Mutex<Vec<Attempt>>>;

/// Runs all clients; each begins its last request before `end`.
pub(crate) async fn work(relay: SocketAddr, end: Instant, log: Log) {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(relay, number, end, log.clone()));
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no client panics");
    }
}

async fn client(relay: SocketAddr, number: usize, end: Instant, log: Log) {
    // The clients begin evenly spread over the pace, not all in the same instant.
    tokio::time::sleep(PACE * number as u32 / CLIENTS as u32).await;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut session = None;
    for request in 0.. {
        pace.tick().await;
        let began = Instant::now();
        if began >= end {
            break;
        }
        if request % REQUESTS_PER_CONNECTION == 0 {
            session = None;
        }
        let outcome = match timeout(PATIENCE, attempt(&mut session, relay, request + number as u64)).await {
            Ok(Ok(())) => Outcome::Served,
            Ok(Err(why)) => Outcome::Failed(why),
            Err(_) => Outcome::TimedOut,
        };
        if outcome != Outcome::Served {
            session = None;
        }
        log.lock().expect("no client panics").push(Attempt { began, lasted: began.elapsed(), outcome });
    }
}

/// One HTTP/2 connection; dropping it closes it.
struct Session {
    requests: SendRequest<Bytes>,
    _driver: JoinSet<()>,
}

impl Session {
    async fn open(relay: SocketAddr) -> Result<Session, String> {
        let stream = TcpStream::connect(relay).await.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("connect: {error}"))?;
        let (requests, connection) =
            h2::client::handshake(stream).await.map_err(|error| format!("handshake: {error}"))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The requests on the connection get its error too, and report it.
            let _ = connection.await;
        });
        Ok(Session { requests, _driver: driver })
    }
}

/// One request and its answer, on a new connection if there is none.
async fn attempt(session: &mut Option<Session>, relay: SocketAddr, kind: u64) -> Result<(), String> {
    let session = match session {
        Some(session) => session,
        None => session.insert(Session::open(relay).await?),
    };
    let (method, path, sent, expected) = match kind % 4 {
        0 => (Method::GET, format!("/bytes/{SMALL_BODY_BYTES}"), None, SMALL_BODY_BYTES),
        1 => (Method::POST, "/echo".into(), Some(SMALL_BODY_BYTES), SMALL_BODY_BYTES),
        2 => (Method::GET, format!("/bytes/{LARGE_BODY_BYTES}"), None, LARGE_BODY_BYTES),
        _ => (Method::POST, "/echo".into(), Some(LARGE_BODY_BYTES), LARGE_BODY_BYTES),
    };
    let uri = format!("http://{relay}{path}");
    let request = Request::builder().method(method).uri(uri).body(()).map_err(|error| error.to_string())?;
    exchange(session, request, sent.map(pattern), expected).await
}

async fn exchange(
    session: &mut Session,
    request: Request<()>,
    sent: Option<Bytes>,
    expected: usize,
) -> Result<(), String> {
    let explain = |error: h2::Error| format!("{} {}: {error}", request.method(), request.uri().path());
    let mut requests = session.requests.clone().ready().await.map_err(explain)?;
    let (response, mut body) = requests.send_request(request.clone(), sent.is_none()).map_err(explain)?;
    if let Some(sent) = sent {
        body.send_data(sent, true).map_err(explain)?;
    }
    let response = response.await.map_err(explain)?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("{} {}: status {status}", request.method(), request.uri().path()));
    }
    let body = read_body(response.into_body(), expected).await.map_err(explain)?;
    if body != Some(pattern(expected)) {
        return Err(format!("{} {}: the body is not the one expected", request.method(), request.uri().path()));
    }
    Ok(())
}
