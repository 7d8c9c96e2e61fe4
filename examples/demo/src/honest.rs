//! Clients that do what clients do: connect, send request after request, check every byte of the answers, and now and
//! then connect anew.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, StatusCode};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::server::{LARGEST_BODY_BYTES, pattern, read_body};
use crate::shape::{Cutter, Pieced, SHAPES, Shape};

/// Real clients come and go: after this many requests a client leaves, and opens a new connection for its next one,
/// which must be served under attack too.
pub const REQUESTS_PER_CONNECTION: u64 = 50;

/// More than two receive buffers of the usual size, less than a client's first flow-control window.
const LARGE_BODY_BYTES: usize = 40_000;
const SMALL_BODY_BYTES: usize = 100;

/// What a header block takes without a fill, about.
const PLAIN_BLOCK_BYTES: usize = 35;

/// A client with large bodies makes a request in this many times the pace of the others.
const UPLOAD_PACE: u32 = 4;

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
    /// The same, but each client has one of the [shapes](SHAPES), by its number.
    Shapes,
    /// This path of some other server, in these shapes without a body; whatever it answers completely is an answer.
    Path(String),
}

impl Clients {
    /// The shape of this client's requests, if they have one.
    pub fn shape_of(&self, number: usize) -> Option<&'static Shape> {
        match self.asks {
            Asks::Bodies => None,
            Asks::Shapes | Asks::Path(_) => Some(&SHAPES[number % SHAPES.len()]),
        }
    }

    fn pace_of(&self, number: usize) -> Duration {
        let is_upload = self.shape_of(number).is_some_and(|shape| shape.body_bytes > 0);
        self.pace * if is_upload { UPLOAD_PACE } else { 1 }
    }
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
    /// For how long it went on, without the pauses that its client made.
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
    let mut pace = interval(clients.pace_of(number));
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
            Ok(Err(outcome)) => outcome,
            Err(_) => Outcome::TimedOut,
        };
        let paused = session.as_ref().map_or(Duration::ZERO, |session: &Session| session.cutter.take_paused());
        let lasted = began.elapsed().saturating_sub(paused);
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
    cutter: Cutter,
    /// Ends with the connection; its error is more precise than those of the requests.
    driver: JoinSet<Result<(), h2::Error>>,
}

impl Session {
    async fn open(clients: &Clients, number: usize) -> Result<Session, String> {
        let stream = connect(clients.target, clients.source.map(|source| source(number)));
        let stream = stream.await.map_err(|error| format!("connect: {error}"))?;
        let cutter = Cutter::default();
        let (requests, connection) = h2::client::handshake(Pieced::new(stream, cutter.clone()))
            .await
            .map_err(|error| format!("handshake: {error}"))?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Session { requests, cutter, driver })
    }

    /// The outcome of a request that was not served, once it is known how its connection ended, if it did.
    async fn explain(mut self, outcome: Outcome) -> Outcome {
        match timeout(EXPLANATION_LIMIT, self.driver.join_next()).await {
            Ok(Some(Ok(Err(error)))) if is_shed(&error) => Outcome::Shed,
            _ => outcome,
        }
    }
}

fn is_shed(error: &h2::Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
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
async fn attempt(session: &mut Option<Session>, clients: &Clients, number: usize, request: u64) -> Result<(), Outcome> {
    let session = match session {
        Some(session) => session,
        None => session.insert(Session::open(clients, number).await.map_err(Outcome::Failed)?),
    };
    let build = |method, path: &str, fill_bytes: usize| {
        let uri = format!("http://{}{path}", clients.target);
        let mut request = Request::builder().method(method).uri(uri);
        if fill_bytes > 0 {
            request = request.header("x-fill", fill(fill_bytes));
        }
        request.body(()).map_err(|error| Outcome::Failed(error.to_string()))
    };
    let shape = clients.shape_of(number);
    if let Some(shape) = shape {
        session.cutter.cut_next(shape.pieces, shape.pause);
    }
    let fill_bytes = shape.map_or(0, |shape| shape.block_bytes.saturating_sub(PLAIN_BLOCK_BYTES));
    if let Asks::Path(path) = &clients.asks {
        return exchange(session, build(Method::GET, path, fill_bytes)?, None, None).await;
    }
    let (is_upload, body_bytes) = match shape {
        Some(Shape { body_bytes: 0, .. }) => (false, SMALL_BODY_BYTES),
        Some(shape) => (true, shape.body_bytes),
        None => {
            let kind = request + number as u64;
            (kind % 2 == 1, if kind % 4 < 2 { SMALL_BODY_BYTES } else { LARGE_BODY_BYTES })
        }
    };
    let body = pattern(body_bytes);
    if is_upload {
        let request = build(Method::POST, "/echo", fill_bytes)?;
        exchange(session, request, Some(body.clone()), Some(body)).await
    } else {
        exchange(session, build(Method::GET, &format!("/bytes/{body_bytes}"), fill_bytes)?, None, Some(body)).await
    }
}

/// A field's value that takes this many bytes on the wire, in every request anew: its letter is not shortened by
/// HPACK, and what is sensitive is not remembered.
fn fill(bytes: usize) -> HeaderValue {
    let mut value = HeaderValue::from_str(&"X".repeat(bytes)).expect("it is a letter");
    value.set_sensitive(true);
    value
}

/// Sends a request, with a body if there is one, and reads the answer to its end; `expected` is what it must be.
async fn exchange(
    session: &mut Session,
    request: Request<()>,
    sent: Option<Bytes>,
    expected: Option<Bytes>,
) -> Result<(), Outcome> {
    let explain = |error: h2::Error| match is_shed(&error) {
        true => Outcome::Shed,
        false => Outcome::Failed(format!("{} {}: {error}", request.method(), request.uri().path())),
    };
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
    Err(Outcome::Failed(format!("{} {}: {wrong}", request.method(), request.uri().path())))
}
