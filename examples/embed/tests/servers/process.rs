//! A server in a process of its own.

use demuxbuf::connection::Policy;
use demuxbuf_embed::counting::Counting;
use demuxbuf_embed::server::BUFFER_BYTES;
use demuxbuf_embed::stream::SERVER_NAME;
use demuxbuf_ffi_tests::{Program, skip, system_library};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What takes longer never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// The least memory that a server of one thread takes.
const LEAST_KIB: u64 = 160;
/// The exit status of a server that this kernel cannot run.
const REFUSED_BY_KERNEL: i32 = 77;

/// A server that can be started, with the options that all its tests give it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) program: PathBuf,
    pub(crate) options: &'static [&'static str],
    /// The least memory that it takes, in KiB.
    pub(crate) least_kib: u64,
    /// It speaks TLS with what this folder has.
    pub(crate) identity: Option<&'static Path>,
    /// It leaves partial frames in the kernel: they need not cause a shortage.
    pub(crate) counts: bool,
}

/// A certificate and its key, `certificate.pem` and `key.pem`, in a folder that is made once for each place of builds.
fn identity() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embed-identity");
        if folder.exists() {
            return folder;
        }
        let made = folder.with_extension(std::process::id().to_string());
        let signed = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()]).expect("a certificate");
        fs::create_dir_all(&made).expect("a folder");
        fs::write(made.join("certificate.pem"), signed.cert.pem()).expect("a file");
        fs::write(made.join("key.pem"), signed.key_pair.serialize_pem()).expect("a file");
        // Another process may have been faster.
        if fs::rename(&made, &folder).is_err() {
            fs::remove_dir_all(&made).expect("it is there");
        }
        folder
    })
}

/// Whether this kernel wakes a host by a mark; else a line.
fn kernel_counts() -> bool {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let socket = listener.local_addr().and_then(TcpStream::connect).expect("it listens");
    let mut policy = Policy::default();
    Counting::new(&socket, BUFFER_BYTES, &mut policy);
    if !policy.counting {
        skip("that servers count: the kernel does not take SO_RCVLOWAT");
    }
    policy.counting
}

impl Server {
    /// Builds a program of one source below `examples`; `None`, and a line, if a library that it needs is not
    /// installed.
    pub(crate) fn c(source: &str, libraries: &[&str], options: &'static [&'static str]) -> Option<Server> {
        let mut flags = Vec::new();
        for library in libraries {
            let Some(found) = system_library(library) else {
                skip(&format!("the {source} server, for which {library} is not installed"));
                return None;
            };
            flags.extend(found);
        }
        let name = source.rsplit_once('/').expect("a folder and a file").1;
        let path = format!("examples/{source}.c");
        let program = Program { flags, ..Program::new(&format!("embed-{name}"), &[&path]) }.build();
        Some(Server { program, options, least_kib: LEAST_KIB, identity: None, counts: false })
    }

    /// The same server, which speaks TLS.
    pub(crate) fn with_identity(self) -> Server {
        Server { identity: Some(identity()), ..self }
    }

    /// The same server, which counts where the kernel does.
    pub(crate) fn counting(self) -> Server {
        Server { counts: kernel_counts(), ..self }
    }

    /// A program of `examples/embed/src/bin`.
    pub(crate) fn rust(program: &str, options: &'static [&'static str]) -> Option<Server> {
        Some(Server { program: program.into(), options, least_kib: LEAST_KIB, identity: None, counts: false })
    }

    /// The command, with these further options.
    pub(crate) fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(folder) = self.identity {
            command.arg("--certificate").arg(folder.join("certificate.pem"));
            command.arg("--key").arg(folder.join("key.pem"));
        }
        command.args(self.options).args(options);
        command
    }

    /// Starts it; `None`, and a line, if the kernel has not what it needs.
    pub(crate) fn start(&self, memory_kib: u64) -> Option<Running> {
        let mut child = self
            .command(&["--memory-kib", &memory_kib.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program that was just built starts");
        let mut printed = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        printed.read_line(&mut line).expect("it prints its port");
        if line.is_empty() {
            let output = child.wait_with_output().expect("it ended");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(REFUSED_BY_KERNEL), "{errors}");
            skip(&format!("{}: {}", self.program.display(), errors.trim()));
            return None;
        }
        let port: u16 = line.strip_prefix("port ").expect("its port").trim().parse().expect("a number");
        let certificate = self.identity.map(|folder| folder.join("certificate.pem"));
        Some(Running { child, printed, address: (Ipv4Addr::LOCALHOST, port).into(), memory_kib, certificate })
    }
}

/// A server that runs.
pub(crate) struct Running {
    child: Child,
    printed: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    memory_kib: u64,
    /// Of a server that speaks TLS.
    pub(crate) certificate: Option<PathBuf>,
}

impl Running {
    /// Processor time of the process so far, in ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let line = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let (_, behind_name) = line.rsplit_once(')').expect("its name");
        let fields: Vec<&str> = behind_name.split_whitespace().collect();
        [11, 12].iter().map(|&at| fields[at].parse::<u64>().expect("a number")).sum()
    }

    /// Memory of the process that is in use, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sockets that it has open.
    pub(crate) fn sockets(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").flatten();
        let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// How often its threads fell asleep so far; `None` while one of them runs, or would if a processor were free.
    fn naps(&self) -> Option<(u64, u64)> {
        let (mut threads, mut naps) = (0, 0);
        for entry in fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs") {
            let folder = entry.expect("it runs").path();
            // A thread that has ended meanwhile is another look.
            let status = fs::read_to_string(folder.join("status")).ok()?;
            let value =
                |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("it is there").trim();
            if !value("State:").starts_with('S') {
                return None;
            }
            threads += 1;
            naps += value("voluntary_ctxt_switches:").parse::<u64>().expect("a number");
        }
        Some((threads, naps))
    }

    /// Waits until all that came is dealt with, so that it sleeps but for its deadlines.
    pub(crate) fn rest(&self) {
        let (began, mut before, mut looks_asleep) = (Instant::now(), None, 0);
        while looks_asleep < 3 {
            let now = self.naps();
            let is_asleep = before.zip(now).is_some_and(|(before, now): ((u64, u64), (u64, u64))| {
                // The clock is advanced eight times a second while memory is short.
                now.0 == before.0 && now.1 <= before.1 + 2 * now.0
            });
            looks_asleep = if is_asleep { looks_asleep + 1 } else { 0 };
            assert!(began.elapsed() < PATIENCE, "it never sleeps");
            before = now;
            sleep(Duration::from_millis(100));
        }
    }

    /// Waits until it was woken by what this does, and sleeps again.
    pub(crate) fn wakes_for(&self, does: impl FnOnce()) {
        let began = Instant::now();
        let wait_for = |is_there: &dyn Fn(u64) -> bool| loop {
            match self.naps() {
                Some((_, naps)) if is_there(naps) => return naps,
                _ => assert!(began.elapsed() < PATIENCE, "it is not woken, or does not sleep"),
            }
            sleep(Duration::from_micros(200));
        };
        let before = wait_for(&|_| true);
        does();
        wait_for(&|naps| naps > before);
    }

    /// Does something while it stands still: all of that comes at once for it, and none of its time passes.
    pub(crate) fn while_stopped<T>(&self, does: impl FnOnce() -> T) -> T {
        let signal = |signal| kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        signal(Signal::STOP);
        let done = does();
        signal(Signal::CONT);
        done
    }

    /// Ends it by a signal, whatever is connected; returns its statistics, which show that nothing is left behind.
    pub(crate) fn stop(mut self) -> Statistics {
        let pid = Pid::from_child(&self.child);
        assert!(self.child.try_wait().expect("its status").is_none(), "it still runs");
        kill_process(pid, Signal::TERM).expect("it runs");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            sleep(Duration::from_millis(5));
        };
        let (mut printed, mut errors) = (String::new(), String::new());
        self.printed.read_to_string(&mut printed).expect("text");
        self.child.stderr.take().expect("it is a pipe").read_to_string(&mut errors).expect("text");
        assert!(status.success() && errors.is_empty(), "{status}\n{printed}{errors}");
        let pair = |line: &str| {
            let (name, number) = line.split_once(' ').expect("a name and a number");
            (name.to_owned(), number.parse().expect("a number"))
        };
        let statistics = Statistics(printed.lines().map(pair).collect());
        for name in ["leased", "assigned", "waiting", "receivers"] {
            assert_eq!(statistics.get(name), 0, "{name} at the end: {statistics:?}");
        }
        let [received, consumed, dropped] =
            ["received", "consumed", "dropped"].map(|name| statistics.get(&format!("{name}_bytes")));
        assert_eq!(received, consumed + dropped, "{statistics:?}");
        assert!(statistics.get("memory_bytes") <= self.memory_kib * 1024, "{statistics:?}");
        statistics
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ended, or the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server prints at its end.
#[derive(Debug)]
pub(crate) struct Statistics(BTreeMap<String, u64>);

impl Statistics {
    /// A number, by its name.
    pub(crate) fn get(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("the statistics have no {name}: {self:?}"))
    }
}
