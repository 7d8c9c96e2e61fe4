//! Scenarios of time and fairness: peers that wait among peers that never finish.

use crate::host::{COUNTING_MODES, FREE, Host, MS, STREAM_FULL, config, config_of, data_frame, in_polled_modes};
use crate::host_pool::{HAS_SPARE, free_buffers};
use crate::machine::{in_all_modes, in_modes};
use demuxbuf::connection::{EndKind, Event, Mode};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig};
use demuxbuf::scheduler::{LeaseId, Outcome};
use demuxbuf_testkit::{EventLoop, Rng};
use std::cell::Cell;

/// One loop iteration.
const STEP_NS: u64 = 25 * MS;

/// New peers, each with this much of a frame of this length.
fn hold(host: &mut Host, peers: usize, bytes: usize, length: usize) -> Vec<usize> {
    let begin = |_| {
        let peer = host.attach();
        host.send(peer, &data_frame(length)[..bytes]);
        host.serve_sockets();
        peer
    };
    (0..peers).map(begin).collect()
}

/// What a peer sends that never comes to an end: frames of one length.
struct Endless {
    frame: Vec<u8>,
    sent: usize,
}

impl Endless {
    fn new(length: usize) -> Endless {
        Endless { frame: data_frame(length), sent: 0 }
    }

    /// The next bytes.
    fn next(&mut self, bytes: usize) -> Vec<u8> {
        let at = self.sent % self.frame.len();
        self.sent += bytes;
        self.frame.iter().cycle().skip(at).take(bytes).copied().collect()
    }
}

/// A peer sends a whole frame. It is decoded in the time that the pool promises, whatever others do in each iteration.
/// Returns how long that took.
fn is_served_in_time(host: &mut Host, peer: usize, frame: &[u8], mut others: impl FnMut(&mut Host)) -> u64 {
    let frames = host.peers[peer].frames.len();
    host.send(peer, frame);
    let since_ns = host.now_ns;
    // Where nothing is kept, an edge that begins a claim is late, and the next one begins it anew.
    let is_edge = host.pool.connection(host.peers[peer].id).expect("it is attached").policy().mode == Mode::Edge;
    let bound_ns = host.pool.memory().config().wait_ns_max() * if is_edge { 2 } else { 1 } + 2 * STEP_NS;
    while host.peers[peer].frames.len() == frames {
        host.now_ns += STEP_NS;
        others(host);
        host.iterate();
        assert!(!host.peers[peer].is_shed, "an honest peer is shed");
        assert!(host.now_ns - since_ns <= bound_ns, "it waits too long: {:?}", host.pool.totals());
    }
    host.now_ns - since_ns
}

/// Two peers wait, each with a whole frame to receive; the host has every buffer that it can have.
fn two_waiting(mode: Mode) -> (Host, Vec<LeaseId>) {
    let mut host = Host::new(&config(mode, 4));
    let leases = host.take_all_buffers(0);
    for _ in 0..2 {
        let waiter = host.attach();
        host.send(waiter, &data_frame(100));
        host.settle();
    }
    assert_eq!(host.held(), (FREE, 2, 2));
    (host, leases)
}

/// As many peers, each with a buffer of its own, as leave the reserve.
fn holders(host: &Host) -> u32 {
    free_buffers(&host.pool) + u32::from(HAS_SPARE) - host.pool.memory().split().reserve
}

/// A request of the host's own waits, and the host has every other buffer that it can have. A thread has its spare
/// still: the content of one that kept it would be evicted first.
fn wait_beside_spare(host: &mut Host) {
    // What is kept may have been the spare. The thread has one again since the receive of another peer.
    let other = host.attach();
    host.send(other, &data_frame(10));
    host.settle();
    host.close(other);
    host.take_buffers(0, 0);
    let Outcome::Queued(_) = host.request(0, 1) else { panic!("nothing is free") };
}

#[test]
fn s51_busy_holders_do_not_end_service() {
    in_all_modes(|mode| {
        // Each frame is finished soon, and with it comes the beginning of the next one.
        let mut host = Host::new(&config(mode, 22));
        let holders = hold(&mut host, 20, 600, 800);
        let honest = host.attach();
        let next = [&data_frame(800)[600..], &data_frame(800)[..600]].concat();
        for _ in 0..10 {
            is_served_in_time(&mut host, honest, &data_frame(700), |host| {
                let served = holders.iter().filter(|&&holder| !host.peers[holder].is_shed);
                let served: Vec<usize> = served.copied().collect();
                served.into_iter().for_each(|holder| host.send(holder, &next));
            });
        }
        let frames: usize = holders.iter().map(|&holder| host.peers[holder].frames.len()).sum();
        assert!(frames > 100 && host.pool.totals().claims > 10, "given: they are busy, and memory is short");
    });
    // Sixty peers at 250 bytes in a second.
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 61));
        let honest = host.attach();
        let mut slow = Vec::new();
        for _ in 0..60 {
            let mut sent = Endless::new(800);
            let peer = host.attach();
            host.send(peer, &sent.next(100));
            slow.push((peer, sent));
        }
        for _ in 0..10 {
            is_served_in_time(&mut host, honest, &data_frame(700), |host| {
                for (peer, sent) in &mut slow {
                    if !host.peers[*peer].is_shed {
                        host.send(*peer, &sent.next(6));
                    }
                }
            });
        }
        assert!(host.pool.totals().claims > 60, "given: memory is short");
    });
}

#[test]
fn s52_byte_before_each_deadline_renews_nothing() {
    // The host lets one byte of a full buffer go, shortly before the time that it may hold the rest is over.
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 7));
        for _ in 0..6 {
            let holder = host.attach();
            host.peers[holder].takes_bytes = true;
            host.block(holder);
            host.send(holder, &[0; 1024]);
        }
        host.settle();
        let honest = host.attach();
        let mut iterations = 0;
        for _ in 0..5 {
            is_served_in_time(&mut host, honest, &data_frame(700), |host| {
                iterations += 1;
                for holder in 0..6 {
                    if iterations % 76 == 0 && !host.peers[holder].is_shed {
                        host.unblock(holder);
                        host.resume(holder);
                        host.block(holder);
                        host.report(holder, Event::Block { reasons: STREAM_FULL });
                    }
                }
            });
            host.pass(1_000 * MS);
        }
    });
    // The peer sends one byte for each that is decoded.
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 2));
        let holder = host.attach();
        host.peers[holder].takes_bytes = true;
        host.send(holder, &[0; 1000]);
        host.settle();
        wait_beside_spare(&mut host);
        let since_ns = host.now_ns;
        while host.leases.is_empty() {
            host.now_ns += STEP_NS;
            host.send(holder, &[0]);
            host.iterate();
            assert!(
                host.now_ns - since_ns <= host.pool.memory().config().wait_ns_max() + 2 * STEP_NS,
                "held for hours"
            );
        }
        assert!(host.peers[holder].is_shed);
    });
}

#[test]
fn s53_pause_of_the_process_counts_as_one_step() {
    in_all_modes(|mode| {
        for pause_ns in [10_000 * MS, 3_600_000 * MS, u64::MAX / 2] {
            let mut host = Host::new(&config(mode, 8));
            host.iterate();
            let holders = holders(&host);
            let holders = hold(&mut host, holders as usize, 600, 800);
            let waiter = host.attach();
            host.send(waiter, &data_frame(700)[..650]);
            host.settle();
            assert!(host.is_waiting(waiter), "given: memory is short");
            host.now_ns += pause_ns;
            host.iterate();
            host.iterate();
            assert_eq!(host.pool.describe(host.peers[waiter].id).map(|info| info.wait_age_ns), Ok(125 * MS));
            assert!(host.peers.iter().all(|peer| !peer.is_shed), "no peer is shed for it");
            host.send(waiter, &data_frame(700)[650..]);
            for &holder in &holders {
                host.send(holder, &data_frame(800)[600..]);
            }
            host.settle();
            assert!(host.peers.iter().all(|peer| peer.frames.len() == 1), "and all go on");
        }
    });
}

#[test]
fn s54_first_advance_is_the_origin_of_time() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 8));
        let holders = holders(&host);
        hold(&mut host, holders as usize, 600, 800);
        let waiter = host.attach();
        host.send(waiter, &data_frame(700));
        host.serve_sockets();
        host.serve_sockets();
        assert!(host.is_waiting(waiter), "given: memory is short");
        host.now_ns = 864_000_000 * MS;
        host.iterate();
        host.iterate();
        assert!(host.peers.iter().all(|peer| !peer.is_shed), "no peer is shed");
        assert_eq!(host.pool.describe(host.peers[waiter].id).map(|info| info.wait_age_ns), Ok(0));
        for row in 0..=holders {
            assert_eq!(host.pool.memory().facts(row).map(|facts| facts.start_ns), Ok(Some(0)), "no frame is older");
        }
    });
}

#[test]
fn s55_claim_ends_with_its_need() {
    /// How a need ends.
    type End = fn(&mut Host);
    let ends: [End; 5] = [
        |host| {
            host.report(0, Event::Consumed { bytes: 64 });
            host.report(0, Event::WouldBlock);
        },
        |host| {
            host.report(0, Event::Block { reasons: STREAM_FULL });
        },
        |host| {
            host.hang_up(0, EndKind::Stream);
        },
        |host| {
            host.hang_up(0, EndKind::Error);
        },
        |host| host.close(0),
    ];
    in_polled_modes(|mode| {
        for (at, end) in ends.iter().enumerate() {
            let (mut host, mut leases) = two_waiting(mode);
            assert!(host.is_waiting(0));
            end(&mut host);
            assert!(at == 4 || !host.is_waiting(0), "{at}");
            host.make_room(&mut leases);
            assert_eq!(host.first_grant(), Some(1), "{at}: the next is served in that step");
        }
    });
}

#[test]
fn s56_no_peer_is_shed_without_a_trial() {
    in_all_modes(|mode| {
        for is_whole in [true, false] {
            let mut host = Host::new(&config(mode, 2));
            host.take_all_buffers(0);
            let waiter = host.attach();
            host.send(waiter, &data_frame(300)[..if is_whole { 300 } else { 299 }]);
            host.settle();
            assert!(host.is_waiting(waiter));
            host.pass(900 * MS);
            assert!(!host.peers[waiter].is_shed && host.pool.totals().trials == 0, "it is not shed for its own wait");
            host.pass(250 * MS);
            assert_eq!(host.pool.totals().trials, 1, "without any room");
            assert_eq!(
                (host.peers[waiter].frames.len(), host.peers[waiter].is_shed),
                (usize::from(is_whole), !is_whole)
            );
        }
    });
}

#[test]
fn s57_order_follows_what_has_arrived() {
    in_polled_modes(|mode| {
        for has_begun in [false, true] {
            let mut host = Host::new(&config(mode, 18));
            let mut leases = host.take_all_buffers(0);
            // All of the smallest cells are in use.
            let fillers = hold(&mut host, 16, 10, 300);
            let latecomer = fillers[15];
            let first = host.attach();
            host.send(first, &data_frame(100));
            host.settle();
            host.on(first, Event::Readable);
            assert!(host.is_waiting(first) && host.buffered_bytes(first) == 0, "it waits with nothing");
            host.close(latecomer);
            let latecomer = host.attach();
            host.pass(50 * MS);
            host.send(latecomer, &data_frame(100));
            host.settle();
            assert!(host.is_waiting(latecomer) && host.buffered_bytes(latecomer) == 64);
            if has_begun {
                host.close(fillers[0]);
                host.on(first, Event::Readable);
                host.settle();
                assert!(host.is_waiting(first) && host.buffered_bytes(first) == 64);
            }
            host.make_room(&mut leases);
            let expected = if has_begun { first } else { latecomer };
            assert_eq!(
                host.first_grant(),
                Some(expected),
                "a longer frame may take longer; one that begins shows its length"
            );
        }
    });
}

#[test]
fn s58_unused_grant_passes_on() {
    in_polled_modes(|mode| {
        let (mut host, mut leases) = two_waiting(mode);
        host.make_room(&mut leases);
        assert_eq!(host.first_grant(), Some(0));
        assert_eq!(host.pool.poll_notice(), None, "one at a time");
        // The host does nothing with it.
        host.now_ns += STEP_NS;
        host.pool.handle_timeout(host.now_ns);
        assert_eq!(host.first_grant(), Some(1), "in the next loop iteration");
        host.resume(1);
        assert_eq!(host.peers[1].frames.len(), 1);
        // It comes to the first after all.
        host.resume(0);
        host.settle();
        assert_eq!(host.peers[0].frames.len(), 1);
    });
}

#[test]
fn s59_defaults_serve_others_beside_partial_frames() {
    let buffers = 8;
    for holders in [buffers, 10 * buffers] {
        let mut host = Host::new(&PoolConfig::new(u64::from(buffers) * 16_448, 200));
        hold(&mut host, holders as usize, 65, 9_000);
        assert_eq!(host.held().2, holders);
        for _ in 0..buffers {
            let other = host.attach();
            host.send(other, &data_frame(16_000));
            host.iterate();
            assert_eq!(host.peers[other].frames.len(), 1, "served at once");
        }
    }
}

#[test]
fn s60_content_of_a_full_pool_fits_an_equal_one() {
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let mut host = Host::new(&config_of(Mode::Level, 12, 1024, 100));
        // Partial frames of all sizes, of which some end, until nothing has room.
        while host.peers.len() < 60 || free_buffers(&host.pool) > 1 {
            let length = rng.usize(20..1024);
            hold(&mut host, 1, rng.usize(1..length), length);
            let at = rng.usize(..host.peers.len());
            if rng.u8(..4) == 0 && host.socket(at).is_some() {
                host.close(at);
            }
        }
        let mut other = Pool::new(&config_of(Mode::Level, 12, 1024, 100)).expect("as the other one");
        for at in 0..host.peers.len() {
            if host.socket(at).is_none() || host.buffered_bytes(at) == 0 {
                continue;
            }
            let content = host.pool.data(host.peers[at].id).expect("it is attached").to_vec();
            let id = other.attach_with(&AttachOptions::new(0, 0), &content).expect("there is as much room");
            other.decoded(id, 0, 1).expect("it is buffered");
            assert_eq!((other.data(id), other.check_invariants()), (Ok(&content[..]), Ok(())));
        }
        assert_eq!(other.totals().shed_for_memory, 0);
    }
}

#[test]
fn s61_blocked_content_is_shed_late_and_in_shortage() {
    in_all_modes(|mode| {
        for is_short in [false, true] {
            let mut host = Host::new(&config(mode, 2));
            host.iterate();
            let peer = host.attach();
            host.block(peer);
            host.send(peer, &data_frame(800)[..600]);
            host.settle();
            if is_short {
                wait_beside_spare(&mut host);
            }
            host.pass(2_000 * MS);
            assert!(!host.peers[peer].is_shed, "not before `blocked_ns`");
            host.pass(if is_short { 250 * MS } else { 60_000 * MS });
            assert_eq!((host.peers[peer].is_shed, host.leases.len()), (is_short, usize::from(is_short)));
        }
    });
}

#[test]
fn s62_blocked_receivers_trade_nothing() {
    in_polled_modes(|mode| {
        let mut host = Host::new(&config(mode, 14));
        for at in 0..14 {
            let peer = host.attach();
            host.peers[peer].is_blocked = at < 7;
            host.send(peer, &data_frame(800));
            host.settle();
        }
        // Those that wait for room are blocked as well.
        for peer in 0..14 {
            host.on(peer, Event::Block { reasons: STREAM_FULL });
        }
        host.settle();
        assert!(host.held().0 >= FREE - 1 && host.pool.totals().claims > 0, "given: memory is short");
        let (totals, stats) = (host.pool.totals(), host.pool.stats());
        for _ in 0..1000 {
            host.now_ns += STEP_NS;
            assert_eq!(host.iterate(), 0, "nothing happens");
        }
        assert_eq!(host.pool.totals(), totals);
        assert_eq!(host.pool.stats().memory_model, stats.memory_model);
    });
}

/// What attackers do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    Static,
    /// Some bytes in each iteration.
    Drips,
    OneByte,
    /// Whole frames, and the beginning of another with each.
    BackToBack,
    /// A new connection in each iteration.
    Reconnects,
    /// Its host does not decode.
    Blocked,
}

/// What each attacker does, and with how many bytes it begins.
type Manner = dyn Fn(usize) -> (Habit, usize);

#[test]
fn s63_partial_frames_of_every_size_keep_the_bound() {
    let claims = Cell::new(0);
    in_every_manner(&|manner| {
        in_all_modes(|mode| {
            let mut host = Host::new(&config(mode, ATTACKERS as u32 + 2));
            besiege(&mut host, manner);
            claims.set(claims.get() + host.pool.totals().claims);
        });
    });
    assert!(claims.get() > 1000, "given: memory is short");
}

/// Where the kernel can hold a frame, it is decoded in the iteration in which it is whole there; else the bound holds.
#[test]
fn s63_partial_frames_keep_the_bound_while_counted() {
    let (under_marks, claims) = (Cell::new(0), Cell::new(0));
    in_every_manner(&|manner| {
        in_modes(&COUNTING_MODES, |mode| {
            for kernel_bytes in [usize::MAX, 600] {
                let mut host = Host::counting(&config(mode, ATTACKERS as u32 + 2), kernel_bytes);
                let waited_ns = besiege(&mut host, manner);
                assert!(waited_ns == STEP_NS || kernel_bytes < 1000, "{mode:?}: it waits for {} ms", waited_ns / MS);
                under_marks.set(under_marks.get() + host.under_marks());
                claims.set(claims.get() + host.pool.totals().claims);
            }
        });
    });
    assert!(under_marks.get() > 1000 && claims.get() > 1000, "given: memory is short");
}

const ATTACKERS: usize = 30;

/// Runs a scenario for each size of what attackers send, with each habit, and with all of them mixed.
fn in_every_manner(scenario: &dyn Fn(&Manner)) {
    let habits = [Habit::Static, Habit::Drips, Habit::OneByte, Habit::BackToBack, Habit::Reconnects, Habit::Blocked];
    for bytes in [1, 8, 64, 256, 512, 900] {
        for habit in habits {
            scenario(&move |at| (habit, bytes + at % 2));
        }
    }
    scenario(&move |at| (habits[at % habits.len()], 1 + at * 37 % 900));
}

/// Attackers, each with a habit and a number of bytes, and an honest peer among them; returns how long it waits.
fn besiege(host: &mut Host, manner: &Manner) -> u64 {
    let honest = host.attach();
    let begin = |host: &mut Host, at: usize| {
        let (habit, bytes) = manner(at);
        let (peer, mut sent) = (host.attach(), Endless::new(1000));
        host.peers[peer].is_blocked = habit == Habit::Blocked;
        host.send(peer, &sent.next(bytes));
        (peer, sent)
    };
    let mut attackers: Vec<_> = (0..ATTACKERS).map(|at| begin(host, at)).collect();
    let mut attack = |host: &mut Host| {
        for (at, attacker) in attackers.iter_mut().enumerate() {
            let (peer, sent) = attacker;
            let is_shed = host.peers[*peer].is_shed;
            let bytes = match manner(at).0 {
                _ if is_shed => 0,
                Habit::Static | Habit::Blocked | Habit::Reconnects => 0,
                Habit::Drips => 1 + at,
                Habit::OneByte => 1,
                Habit::BackToBack => 1000,
            };
            host.send(*peer, &sent.next(bytes));
            if manner(at).0 == Habit::Reconnects && !is_shed {
                host.close(*peer);
            }
            if manner(at).0 == Habit::Reconnects || is_shed {
                *attacker = begin(host, at);
            }
        }
    };
    // They have what they can get before it sends anything.
    for _ in 0..4 {
        host.now_ns += STEP_NS;
        attack(host);
        host.iterate();
    }
    is_served_in_time(host, honest, &data_frame(1000), attack)
}

#[test]
fn s64_time_that_the_host_takes_does_not_count() {
    in_all_modes(|mode| {
        for is_paused in [false, true] {
            let mut host = Host::new(&config(mode, 2));
            host.iterate();
            let peer = host.attach();
            host.send(peer, &data_frame(800)[..600]);
            host.settle();
            wait_beside_spare(&mut host);
            if is_paused {
                host.report(peer, Event::PauseRecv);
            }
            // Until the deadline of the frame has passed, and a little before that of content that waits for the host.
            host.pass(1_875 * MS);
            assert_eq!(host.peers[peer].is_shed, !is_paused, "the peer stopped, or we stopped asking");
            if is_paused {
                host.on(peer, Event::ResumeRecv);
                // What is left of the time that the frame had.
                host.pass(1_000 * MS);
                assert!(!host.peers[peer].is_shed);
                host.send(peer, &data_frame(800)[600..]);
                host.settle();
                assert_eq!(host.peers[peer].frames.len(), 1);
            }
        }
    });
}
