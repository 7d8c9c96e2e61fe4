//! What a server sees of one attacker of each habit.

use super::*;
use crate::attackers::Attackers;
use crate::plan::Band;
use crate::wire::{END_STREAM, ENHANCE_YOUR_CALM, frame};
use demuxbuf::framing::h2::{flags, kind};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Far longer than anything takes here.
const LIMIT: Duration = Duration::from_secs(120);

/// The receive buffer that a socket has if nothing else is set.
const USUAL_SOCKET_BYTES: usize = 131_072;

/// An attacker, and the server that it attacks.
struct Siege {
    listener: TcpListener,
    attackers: Attackers,
    tally: Arc<Tally>,
}

impl Siege {
    async fn begin(habit: Habit) -> Siege {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let target = listener.local_addr().expect("it is bound");
        let aim = Aim { target, small: "/small".into(), large: "/large".into() };
        let (tally, band) = (Arc::default(), Band { habit, count: 1, networks: 1 });
        let attackers = Attackers::start(&aim, vec![band], &tally, false).expect("it needs no priority");
        Siege { listener, attackers, tally }
    }

    async fn accept(&self) -> TcpStream {
        timeout(LIMIT, self.listener.accept()).await.expect("it comes").expect("it is accepted").0
    }

    fn has_struck(&self) -> bool {
        self.tally.struck.load(Relaxed) > 0
    }

    /// All that it sends until it has done enough, after which it leaves. It is read meanwhile.
    async fn sent(self, stream: &mut TcpStream, mut is_enough: impl FnMut(&Tally) -> bool) -> Vec<u8> {
        let Siege { attackers, tally, .. } = self;
        let leave = async {
            until(|| is_enough(&tally)).await;
            attackers.leave().await.expect("it does not panic");
            is_enough(&tally);
        };
        tokio::join!(read_to_end(stream), leave).0
    }

    /// All that it sends on its first connection until it strikes.
    async fn sent_to_strike(self) -> Vec<u8> {
        let mut stream = self.accept().await;
        self.sent(&mut stream, |tally| tally.struck.load(Relaxed) > 0).await
    }

    /// All that it sends on its first connection until it has acted some times, and how often it has.
    async fn sent_in_acts(self, acts_min: u64) -> (Vec<u8>, u64) {
        let (mut stream, mut acts) = (self.accept().await, 0);
        let count = |tally: &Tally| {
            acts += tally.take_acts();
            acts >= acts_min
        };
        (self.sent(&mut stream, count).await, acts)
    }

    /// It is turned away; returns what it has sent meanwhile.
    async fn turn_away(&self, stream: &mut TcpStream) -> Vec<u8> {
        let farewell = [0u32.to_be_bytes(), ENHANCE_YOUR_CALM.to_be_bytes()].concat();
        stream.write_all(&frame(kind::GOAWAY, 0, 0, &farewell)).await.expect("it is there");
        until(|| self.tally.ended_shed.load(Relaxed) == 1).await;
        read_to_end(stream).await
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LIMIT, wait).await.expect("it comes about");
}

async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("it ends").expect("it is not reset");
    bytes
}

/// The next bytes are these.
async fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    timeout(LIMIT, stream.read_exact(&mut bytes)).await.expect("they come").expect("it stays");
    assert!(bytes == expected, "it sends something else");
}

fn settings() -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[])
}

#[tokio::test]
async fn partial_sends_as_many_bytes_as_asked_for() {
    for bytes in [1, 9, 257, 16_384] {
        let siege = Siege::begin(Habit::Partial { bytes: Some(bytes) }).await;
        assert_eq!(siege.sent_to_strike().await, [opening(), begun(bytes.into(), LARGE_FRAME)].concat());
    }
}

#[test]
fn partial_sizes_are_small_and_large() {
    fastrand::seed(1);
    let sizes: Vec<usize> = (0..1000).map(|_| any_size(LARGE_FRAME)).collect();
    let between = |low, high| sizes.iter().filter(|&&size| low <= size && size < high).count();
    assert_eq!(between(1, LARGE_FRAME as usize + 1), 1000);
    // Four of fourteen powers of two each, but for the last two.
    let shares = [(1, 16), (16, 256), (256, 4096), (4096, 16_385)].map(|(low, high)| between(low, high));
    assert!(shares.iter().all(|&count| count > 100), "{shares:?}");
}

#[tokio::test]
async fn at_once_waits_for_the_beginning() {
    let siege = Siege::begin(Habit::AtOnce).await;
    let mut stream = siege.accept().await;
    expect(&mut stream, &opening()).await;
    stream.write_all(&settings()).await.expect("it is there");
    until(|| siege.attackers.have_arrived()).await;
    assert!(!siege.has_struck(), "it has sent what it had to send before it reads");
    siege.attackers.begin();
    let rest = siege.sent(&mut stream, |tally| tally.struck.load(Relaxed) > 0).await;
    assert_eq!(rest, begun(PARTIAL_BYTES, LARGE_FRAME));
}

#[tokio::test]
async fn drip_sends_byte_by_byte() {
    let pause = Duration::from_millis(1);
    for habit in [Habit::Drip { pause }, Habit::Tiny { pause }] {
        let (sent, acts) = Siege::begin(habit).await.sent_in_acts(20).await;
        assert_eq!(sent.len(), opening().len() + acts as usize, "a byte in each act");
        assert!([opening(), begun(LARGE_FRAME as usize, LARGE_FRAME)].concat().starts_with(&sent));
    }
}

#[tokio::test]
async fn tiny_has_the_smallest_segments() {
    let pause = Duration::from_secs(1);
    let habits = [Habit::Tiny { pause }, Habit::Drip { pause }, Habit::SlowReader, Habit::Partial { bytes: None }];
    let mut segments = Vec::new();
    for habit in habits {
        let siege = Siege::begin(habit).await;
        segments.push(SockRef::from(&siege.accept().await).tcp_mss().expect("it is connected"));
    }
    let [tiny, drip, slow, partial] = segments[..] else { panic!("{segments:?}") };
    assert!(tiny <= 88 && slow > 1000 && slow <= 1460 && drip > 1460 && partial > 1460, "{segments:?}");
}

#[tokio::test]
async fn back_to_back_always_leaves_a_partial_frame() {
    let siege = Siege::begin(Habit::BackToBack { pause: Duration::from_millis(50) }).await;
    let (sent, acts) = siege.sent_in_acts(3).await;
    let frame = ignored(LARGE_FRAME);
    let frames = [opening(), frame.repeat(acts as usize), frame[..frame.len() / 2].to_vec()].concat();
    assert!(sent == frames, "{} bytes in {acts} acts", sent.len());
}

#[tokio::test]
async fn leaver_comes_back() {
    let siege = Siege::begin(Habit::Leaver { pause: Duration::from_millis(1) }).await;
    for _ in 0..3 {
        let mut stream = siege.accept().await;
        assert_eq!(read_to_end(&mut stream).await, [opening(), begun(LEAVER_BYTES, LARGE_FRAME)].concat());
    }
    assert_eq!(siege.tally.closed.load(Relaxed), 0, "it left by itself");
}

#[tokio::test]
async fn burst_is_more_than_a_socket_holds() {
    let sent = Siege::begin(Habit::Burst).await.sent_to_strike().await;
    let frames = [opening(), ignored(LARGE_FRAME).repeat(BURST_FRAMES), begun(BURST_REST_BYTES, LARGE_FRAME)];
    assert!(sent == frames.concat(), "{} bytes", sent.len());
    assert!(sent.len() > USUAL_SOCKET_BYTES && BURST_REST_BYTES < LARGE_FRAME as usize, "and ends in a partial frame");
}

#[tokio::test]
async fn urgent_sends_out_of_band() {
    let siege = Siege::begin(Habit::Urgent).await;
    let mut stream = siege.accept().await;
    let partial = begun(PARTIAL_BYTES, LARGE_FRAME);
    let (first, second) = partial.split_at(PARTIAL_BYTES / 2);
    expect(&mut stream, &[&opening(), first].concat()).await;
    // It is refused while nothing is urgent.
    until(|| SockRef::from(&stream).recv_out_of_band(&mut [MaybeUninit::uninit()]).is_ok_and(|bytes| bytes == 1)).await;
    let rest = siege.sent(&mut stream, |tally| tally.struck.load(Relaxed) > 0).await;
    assert_eq!(rest, second, "it is between the halves");
}

#[tokio::test]
async fn announcement_follows_the_settings() {
    let habit = Habit::Announce { bytes: 100 };
    let siege = Siege::begin(habit).await;
    let mut stream = siege.accept().await;
    expect(&mut stream, &opening()).await;
    assert_eq!(siege.turn_away(&mut stream).await, [0; 0], "it has read no settings");

    let siege = Siege::begin(habit).await;
    let mut stream = siege.accept().await;
    stream.write_all(&settings()).await.expect("it is there");
    let sent = siege.sent(&mut stream, |tally| tally.struck.load(Relaxed) > 0).await;
    assert_eq!(sent, [opening(), begun(100, LARGEST_FRAME)].concat());
}

#[tokio::test]
async fn request_follows_the_answer() {
    let siege = Siege::begin(Habit::Requests { pause_max: Duration::ZERO }).await;
    let mut stream = siege.accept().await;
    expect(&mut stream, &[opening(), request(1, "/small", FILL_BYTES)].concat()).await;
    let answer = frame(kind::HEADERS, flags::END_HEADERS | END_STREAM, 1, &[0x88]);
    stream.write_all(&answer).await.expect("it is there");
    expect(&mut stream, &request(3, "/small", FILL_BYTES)).await;
    assert_eq!(siege.tally.take_served().0, 1);
    assert_eq!(siege.turn_away(&mut stream).await, [0; 0], "it waits for the second answer");
}

#[tokio::test]
async fn slow_reader_does_not_read() {
    let siege = Siege::begin(Habit::SlowReader).await;
    let mut stream = siege.accept().await;
    SockRef::from(&stream).set_send_buffer_size(4096).expect("it is allowed");
    expect(&mut stream, &[opening(), request(1, "/large", 0), request(3, "/large", 0)].concat()).await;
    // If it read, a megabyte would be through in no time.
    let sent = timeout(Duration::from_secs(1), stream.write_all(&vec![0; 1 << 20])).await;
    assert!(sent.is_err(), "{sent:?}");
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is allowed");
    drop(stream);
    until(|| siege.tally.closed.load(Relaxed) == 1).await;
}
