//! Attackers, on a thread of their own so that they do not delay the measurements.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::habits::{self, Ended};
use crate::plan::{self, Band, Habit};
use crate::priority;

/// Connections that are being opened at the same time: the accept queue is not the target.
const CONNECTING_MAX: usize = 64;

/// A connection that is not open after this time is tried again.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Receive buffer of an unread socket, and the segment size of a usual network. With the segments of a loopback
/// interface the kernel takes megabytes off the other side before it makes it wait.
const SLOW_SOCKET_BYTES: u32 = 4096;
const SEGMENT_BYTES: u32 = 1460;

/// The smallest segments that the kernel takes.
const TINY_SEGMENT_BYTES: u32 = 88;

/// Connections that act at once come back together after a multiple of this time.
const WAVE: Duration = Duration::from_secs(1);

/// The target, and what is requested from it.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    pub(crate) target: SocketAddr,
    /// The path of a request, and the path of a slow reader.
    pub(crate) small: String,
    pub(crate) large: String,
}

/// The results so far of the attackers of one band.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Those to which a server has answered, or which were closed before that.
    pub(crate) arrived: AtomicU64,
    /// Those that have one now.
    pub(crate) connected: AtomicU64,
    /// Those that have sent what they attack with, at least once, and when the last of them first had, in microseconds
    /// since they came; since they could, where all act at once.
    pub(crate) struck: AtomicU64,
    struck_us: AtomicU64,
    /// How often those that have a rate have sent it.
    acts: AtomicU64,
    /// Connections that ended with the reason that too much was asked for.
    pub(crate) ended_shed: AtomicU64,
    /// Connections that the other side ended otherwise.
    pub(crate) closed: AtomicU64,
    /// Why the first connection that could not be made was not.
    pub(crate) first_failure: OnceLock<io::Error>,
    /// Requests that were answered, and how long the slowest of them took.
    served: AtomicU64,
    slowest_us: AtomicU64,
}

impl Tally {
    pub(crate) fn count_served(&self, lasted: Duration) {
        self.served.fetch_add(1, Relaxed);
        self.slowest_us.fetch_max(lasted.as_micros() as u64, Relaxed);
    }

    pub(crate) fn struck_within(&self) -> Duration {
        Duration::from_micros(self.struck_us.load(Relaxed))
    }

    /// The acts since the last call.
    pub(crate) fn take_acts(&self) -> u64 {
        self.acts.swap(0, Relaxed)
    }

    /// The counts since the last call, and the slowest of them.
    pub(crate) fn take_served(&self) -> (u64, Duration) {
        (self.served.swap(0, Relaxed), Duration::from_micros(self.slowest_us.swap(0, Relaxed)))
    }
}

/// All attackers, until they are asked to leave.
#[derive(Debug)]
pub(crate) struct Attackers {
    common: Arc<Common>,
    count: u64,
    /// Dropping it makes them leave.
    leave: oneshot::Sender<()>,
    left: oneshot::Receiver<Instant>,
}

impl Attackers {
    /// They come, from addresses of their own if the target is on this machine. In the background they have only what
    /// others leave of the processor.
    pub(crate) fn start(
        aim: &Aim,
        bands: Vec<Band>,
        tally: &Arc<Tally>,
        is_background: bool,
    ) -> Result<Attackers, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no event loop for the attackers: {error}"))?;
        let count = plan::connections(&bands) as u64;
        let ((leave, leaving), (gone, left)) = (oneshot::channel::<()>(), oneshot::channel());
        let (started, start) = mpsc::channel();
        for count in [&tally.arrived, &tally.struck, &tally.struck_us] {
            count.store(0, Relaxed);
        }
        let common = Arc::new(Common {
            aim: aim.clone(),
            tally: tally.clone(),
            doors: Semaphore::new(CONNECTING_MAX),
            gate: Semaphore::new(0),
            began: Instant::now(),
            opened: OnceLock::new(),
        });
        let shared = common.clone();
        #[allow(clippy::disallowed_methods, reason = "only the core starts no threads")]
        std::thread::spawn(move || {
            let lowered = if is_background { priority::lower() } else { Ok(()) };
            let _ = started.send(lowered);
            let mut tasks = JoinSet::new();
            runtime.block_on(async {
                for band in bands {
                    let attacker = |number| Attacker { band, number, common: shared.clone() };
                    (0..band.count).for_each(|number| drop(tasks.spawn(attacker(number).live())));
                }
                let _ = leaving.await;
            });
            // With the tasks go their connections, all at once.
            drop((tasks, runtime));
            let _ = gone.send(Instant::now());
        });
        let lowered = start.recv().map_err(|_| "the attackers' thread has ended by itself")?;
        lowered.map_err(|error| format!("the priority of the attackers: {error}"))?;
        Ok(Attackers { common, count, leave, left })
    }

    pub(crate) fn have_arrived(&self) -> bool {
        self.common.tally.arrived.load(Relaxed) == self.count
    }

    /// Those that act at once do.
    pub(crate) fn begin(&self) {
        self.common.opened.get_or_init(Instant::now);
        self.common.gate.close();
    }

    /// They all leave at once; returns when the last had left.
    pub(crate) async fn leave(self) -> Result<Instant, String> {
        drop(self.leave);
        self.left.await.map_err(|_| "the attackers' thread has ended by itself".into())
    }
}

/// What all of them share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) aim: Aim,
    pub(crate) tally: Arc<Tally>,
    doors: Semaphore,
    /// Closed once those that act at once may do so.
    gate: Semaphore,
    began: Instant,
    /// When they could.
    opened: OnceLock<Instant>,
}

impl Common {
    /// Returns once all of them may act.
    pub(crate) async fn begin(&self) {
        let _ = self.gate.acquire().await;
    }
}

/// One of them.
struct Attacker {
    band: Band,
    number: usize,
    common: Arc<Common>,
}

impl Attacker {
    /// Comes, attacks, and comes back when it was closed, until its task ends.
    async fn live(self) {
        let tally = &self.common.tally;
        let [is_counted, has_struck] = [false; 2].map(AtomicBool::new);
        let arrival = Arrival { common: &self.common, is_counted, has_struck };
        loop {
            match self.enter().await {
                Ok(stream) => {
                    let _presence = Presence::of_one(tally);
                    let ended = habits::attack(stream, self.band.habit, &self.common, &arrival).await;
                    arrival.count();
                    match ended {
                        Ended::Shed => drop(tally.ended_shed.fetch_add(1, Relaxed)),
                        Ended::Closed => drop(tally.closed.fetch_add(1, Relaxed)),
                        Ended::Left => {}
                    }
                }
                Err(error) => drop(tally.first_failure.set(error)),
            }
            self.stay_away().await;
        }
    }

    async fn stay_away(&self) {
        match self.band.habit {
            Habit::AtOnce => {
                let waves = self.common.began.elapsed().as_secs() as u32 / WAVE.as_secs() as u32;
                sleep_until(self.common.began + WAVE * (waves + 1)).await;
            }
            Habit::Leaver { pause } => sleep(habits::up_to(2 * pause)).await,
            _ => sleep(habits::up_to(self.band.away_max())).await,
        }
    }

    async fn enter(&self) -> io::Result<TcpStream> {
        let _door = self.common.doors.acquire().await.expect("they stay open");
        let connected = timeout(CONNECT_LIMIT, self.connect()).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let target = self.common.aim.target;
        let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if target.is_ipv4() && target.ip().is_loopback() {
            socket.bind((self.band.source(self.number), 0).into())?;
        }
        match self.band.habit {
            Habit::SlowReader => {
                socket.set_recv_buffer_size(SLOW_SOCKET_BYTES)?;
                SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES)?;
            }
            Habit::Tiny { .. } => SockRef::from(&socket).set_tcp_mss(TINY_SEGMENT_BYTES)?,
            _ => {}
        }
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Counts an attacker that has arrived, and one that has attacked, once.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    common: &'a Common,
    is_counted: AtomicBool,
    has_struck: AtomicBool,
}

impl Arrival<'_> {
    pub(crate) fn count(&self) {
        if !self.is_counted.swap(true, Relaxed) {
            self.common.tally.arrived.fetch_add(1, Relaxed);
        }
    }

    /// It has sent what it attacks with.
    pub(crate) fn strike(&self) {
        if !self.has_struck.swap(true, Relaxed) {
            let Common { tally, began, opened, .. } = self.common;
            let since = opened.get().unwrap_or(began);
            tally.struck_us.fetch_max(since.elapsed().as_micros() as u64, Relaxed);
            tally.struck.fetch_add(1, Relaxed);
        }
    }

    /// It has done so once more, at its rate.
    pub(crate) fn act(&self) {
        self.common.tally.acts.fetch_add(1, Relaxed);
        self.strike();
    }
}

/// Counts a connection for as long as there is one, also when its task is ended.
struct Presence<'a> {
    tally: &'a Tally,
}

impl Presence<'_> {
    fn of_one(tally: &Tally) -> Presence<'_> {
        tally.connected.fetch_add(1, Relaxed);
        Presence { tally }
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.tally.connected.fetch_sub(1, Relaxed);
    }
}
