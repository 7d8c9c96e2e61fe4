//! The server behind the relay: it echoes what is posted, and serves bodies of a size that the path names.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Request, Response, StatusCode};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// The accept queue, as long as the number of clients: they all connect at once.
const BACKLOG: u32 = 4096;

/// What a client may send before the server has read it.
const WINDOW_BYTES: u32 = 1 << 20;

/// The largest body that is read or served.
pub const LARGEST_BODY_BYTES: usize = 1 << 20;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Server {
    /// Starts it on a free port of this machine; it accepts frames of at most this many bytes.
    ///
    /// # Errors
    ///
    /// Those of the sockets.
    pub fn start(max_frame_bytes: u32) -> io::Result<Server> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, max_frame_bytes));
        Ok(Server { address, _accepting: accepting })
    }
}

/// The connections belong to this task, so that they end with it.
async fn accept(listener: TcpListener, max_frame_bytes: u32) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // A failed accept is a client that left early; the relay's statistics show it.
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, max_frame_bytes));
                }
                // Those that are connected come before the next newcomer.
                tokio::task::yield_now().await;
            }
            // Each on its own: together, thousands that left would keep the others waiting.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection to its end. Its errors are its client's: the client sees them and counts them.
async fn serve(stream: TcpStream, max_frame_bytes: u32) {
    let _ = stream.set_nodelay(true);
    let mut server = h2::server::Builder::new();
    // An upload comes without a pause, frame behind frame.
    server.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let Ok(mut connection) = server.max_frame_size(max_frame_bytes).handshake(stream).await else {
        return;
    };
    let mut requests = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        requests.spawn(answer(request, respond));
        while requests.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let size = request.uri().path().strip_prefix("/bytes/").and_then(|size| size.parse::<usize>().ok());
    let (status, body) = match (request.method(), size) {
        (&Method::GET, Some(size)) if size <= LARGEST_BODY_BYTES => (StatusCode::OK, pattern(size)),
        (&Method::POST, None) => match read_body(request.into_body(), LARGEST_BODY_BYTES).await? {
            Some(body) => (StatusCode::OK, body),
            None => (StatusCode::PAYLOAD_TOO_LARGE, Bytes::new()),
        },
        _ => (StatusCode::BAD_REQUEST, Bytes::new()),
    };
    let mut head = Response::new(());
    *head.status_mut() = status;
    respond.send_response(head, false)?.send_data(body, true)
}

/// Reads a body to its end; `None` if it is longer than allowed.
pub async fn read_body(mut stream: RecvStream, largest: usize) -> Result<Option<Bytes>, h2::Error> {
    let mut body = BytesMut::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        if body.len() + piece.len() > largest {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body.freeze()))
}

/// Bytes that show where a piece is missing, doubled or in the wrong place: the period is no divisor of any buffer's
/// size.
///
/// # Panics
///
/// More than [`LARGEST_BODY_BYTES`] are asked for.
pub fn pattern(size: usize) -> Bytes {
    // Otherwise a client that does not read would have all its responses in memory at once.
    static LARGEST: LazyLock<Bytes> =
        LazyLock::new(|| (0..LARGEST_BODY_BYTES).map(|position| (position % 251) as u8).collect());
    LARGEST.slice(..size)
}
