//! Clients that do what clients do: connect, send request after request, check every byte of the answers, and now and
//! then connect anew.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::server::{LARGEST_BODY_BYTES, pattern, read_body};

/// Real clients come and go: after this many requests a client leaves, and opens a new connection for its next one, which
/// must be served under attack too.
const REQUESTS_PER_CONNECTION: u64 = 50;

/// More than two receive buffers of the usual size, less than a client's first flow-control window.
const LARGE_BODY_BYTES: usize = 40_000;
const SMALL_BODY_BYTES: usize = 100;

/// Why a connection ended is known once its driver has seen it, which is at once or never.
const EXPLANATION_LIMIT: Duration = Duration::from_millis(100);

/// The clients, and what they do.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Clients at work at the same time, each on one connection.
    pub count: usize,
    /// Where they connect to.
    pub target: SocketAddr,
    /// Where the client of each number connects from; by default the system chooses.
    pub source: Option<fn(usize) -> Ipv4Addr>,
    /// Each client begins a request this often, or when the one before has ended. A given rate makes runs comparable,
    /// and leaves the processor to relay and server.
    pub pace: Duration,
    /// After this time a client gives a request up, and its connection with it.
    pub patience: Duration,
    /// The path that they request.
    pub asks: Asks,
}

/// The path that the clients request.
#[derive(Clone, Debug)]
pub enum Asks {
    /// Bodies of [`Server`](crate::server::Server), small and large, in both directions, and check every byte.
    Bodies,
    /// This path of some other server; whatever it answers completely is an answer.
    Path(String),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the answer that was to be expected.
    Served,
    /// No complete answer within the client's patience.
    TimedOut,
    /// The connection was closed with the reason that the client asks for too much.
    Shed,
    /// The connection or the answer was wrong; why.
    Failed(String),
}

/// One request, from when its client began it; connecting is part of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The client's number.
    pub client: usize,
    /// When it was begun.
    pub began: Instant,
    /// For how long it went on.
    pub lasted: Duration,
    /// After how long its client would have given it up.
    pub patience: Duration,
    /// Its outcome.
    pub outcome: Outcome,
}

impl Attempt {
    /// How long it took; one that was not served counts as the client's patience, else starved clients would not show.
    pub fn counts_as(&self) -> Duration {
        if self.outcome == Outcome::Served { self.lasted } else { self.patience }
    }
}

/// All requests of all clients so far.
pub type Log = Arc<Mutex<Vec<Attempt>>>;

/// Whether each client has ended a request that it began at this moment or later.
pub fn have_all_asked(log: &Log, clients: usize, since: Instant) -> bool {
    let attempts = log.lock().expect("no client panics");
    let asked: BTreeSet<_> = attempts.iter().filter(|attempt| attempt.began >= since).map(|one| one.client).collect();
    asked.len() == clients
}

/// Runs all clients; each begins its last request before it is over.
pub async fn work(clients: Clients, log: Log, is_over: impl Fn() -> bool + Clone + Send + 'static) {
    let mut tasks = JoinSet::new();
    for number in 0..clients.count {
        tasks.spawn(client(clients.clone(), number, log.clone(), is_over.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no client panics");
    }
}

async fn client(clients: Clients, number: usize, log: Log, is_over: impl Fn() -> bool) {
    // The clients begin evenly spread over the pace, not all in the same instant.
    tokio::time::sleep(clients.pace * number as u32 / clients.count as u32).await;
    let mut pace = interval(clients.pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut session = None;
    for request in 0.. {
        pace.tick().await;
        let began = Instant::now();
        if is_over() {
            break;
        }
        let attempt = attempt(&mut session, &clients, number, request);
        let mut outcome = match timeout(clients.patience, attempt).await {
            Ok(Ok(())) => Outcome::Served,
            Ok(Err(why)) => Outcome::Failed(why),
            Err(_) => Outcome::TimedOut,
        };
        let lasted = began.elapsed();
        if outcome != Outcome::Served {
            if let Some(session) = session.take() {
                outcome = session.explain(outcome).await;
            }
        }
        if (request + 1) % REQUESTS_PER_CONNECTION == 0 {
            session = None;
        }
        let patience = clients.patience;
        log.lock().expect("no client panics").push(Attempt { client: number, began, lasted, patience, outcome });
    }
}

/// One HTTP/2 connection; dropping it closes it.
struct Session {
    requests: SendRequest<Bytes>,
    /// Ends with the connection; its error is more precise than those of the requests.
    driver: JoinSet<Result<(), h2::Error>>,
}

impl Session {
    async fn open(clients: &Clients, number: usize) -> Result<Session, String> {
        let stream = connect(clients.target, clients.source.map(|source| source(number)));
        let stream = stream.await.map_err(|error| format!("connect: {error}"))?;
        let (requests, connection) =
            h2::client::handshake(stream).await.map_err(|error| format!("handshake: {error}"))?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Session { requests, driver })
    }

    /// The outcome of a request that was not served, once it is known how its connection ended, if it did.
    async fn explain(mut self, outcome: Outcome) -> Outcome {
        match timeout(EXPLANATION_LIMIT, self.driver.join_next()).await {
            Ok(Some(Ok(Err(error)))) if error.is_remote() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) => {
                Outcome::Shed
            }
            _ => outcome,
        }
    }
}

/// Connects from this address, or from whichever the system chooses.
async fn connect(target: SocketAddr, source: Option<Ipv4Addr>) -> std::io::Result<TcpStream> {
    let stream = match source {
        Some(source) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind((source, 0).into())?;
            socket.connect(target).await?
        }
        None => TcpStream::connect(target).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request and its answer, on a new connection if there is none.
async fn attempt(session: &mut Option<Session>, clients: &Clients, number: usize, request: u64) -> Result<(), String> {
    let session = match session {
        Some(session) => session,
        None => session.insert(Session::open(clients, number).await?),
    };
    let build = |method, path: &str| {
        let uri = format!("http://{}{path}", clients.target);
        Request::builder().method(method).uri(uri).body(()).map_err(|error| error.to_string())
    };
    if let Asks::Path(path) = &clients.asks {
        return exchange(session, build(Method::GET, path)?, None, None).await;
    }
    let kind = request + number as u64;
    let body = pattern(if kind % 4 < 2 { SMALL_BODY_BYTES } else { LARGE_BODY_BYTES });
    if kind % 2 == 0 {
        let request = build(Method::GET, &format!("/bytes/{}", body.len()))?;
        exchange(session, request, None, Some(body)).await
    } else {
        exchange(session, build(Method::POST, "/echo")?, Some(body.clone()), Some(body)).await
    }
}

/// Sends a request, with a body if there is one, and reads the answer to its end; `expected` is what it must be.
async fn exchange(
    session: &mut Session,
    request: Request<()>,
    sent: Option<Bytes>,
    expected: Option<Bytes>,
) -> Result<(), String> {
    let explain = |error: h2::Error| format!("{} {}: {error}", request.method(), request.uri().path());
    let mut requests = session.requests.clone().ready().await.map_err(explain)?;
    let (response, mut body) = requests.send_request(request.clone(), sent.is_none()).map_err(explain)?;
    if let Some(sent) = sent {
        body.send_data(sent, true).map_err(explain)?;
    }
    let response = response.await.map_err(explain)?;
    let status = response.status();
    let body = read_body(response.into_body(), LARGEST_BODY_BYTES).await.map_err(explain)?;
    let wrong = match (body, expected) {
        (None, _) => format!("the body is longer than {LARGEST_BODY_BYTES} bytes"),
        (Some(_), Some(_)) if status != StatusCode::OK => format!("status {status}"),
        (Some(body), Some(expected)) if body != expected => "the body is not the one expected".into(),
        (Some(_), _) => return Ok(()),
    };
    Err(format!("{} {}: {wrong}", request.method(), request.uri().path()))
}
