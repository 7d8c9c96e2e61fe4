//! Builds the C library and C programs with cargo and the system's C compiler, for tests, the demo and benchmarks.
//!
//! `CC`, `CXX` and `CFLAGS` are honoured, so that the same tests run under other compilers and sanitizers; so is
//! `DEMUXBUF_LIBRARY`, a folder with a library that was built otherwise.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// How a program gets the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linking {
    /// `libdemuxbuf.a`.
    Static,
    /// `libdemuxbuf.so`, found at run time beside where it was built.
    Shared,
}

/// The top of the source tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in a folder of the source tree")
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Builds `libdemuxbuf.a` and `libdemuxbuf.so` once, as README does (`cargo clib`); returns their folder.
///
/// # Panics
///
/// The build fails.
pub fn library() -> &'static Path {
    try_library().unwrap_or_else(|error| panic!("{error}"))
}

/// Like [`library`]; the error names the failure and has all output.
pub fn try_library() -> Result<&'static Path, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER.get_or_init(|| build_library(&target(), &[])).as_deref().map_err(Clone::clone)
}

/// As [`try_library`], with the feature `poison`. A library of `DEMUXBUF_LIBRARY` is taken to have it.
pub fn poisoning_library() -> Result<PathBuf, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER.get_or_init(|| build_library(&target().join("poison"), &["--features", "poison"])).clone()
}

fn build_library(target: &Path, flags: &[&str]) -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("DEMUXBUF_LIBRARY") {
        return Ok(root().join(folder));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["clib", "--quiet", "--target-dir"]).arg(target).args(flags);
    try_run(command.current_dir(root()))?;
    Ok(target.join("release"))
}

/// A program to build.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name; it is built as `target/c/NAME`.
    pub name: String,
    /// Sources, from the top of the source tree. One ending in `.cc` makes it C++17, else it is C11.
    pub sources: Vec<PathBuf>,
    /// How it gets the library.
    pub linking: Linking,
    /// Further flags for the compiler.
    pub flags: Vec<String>,
}

impl Program {
    /// A program of these sources, linked statically, without further flags.
    pub fn new(name: &str, sources: &[&str]) -> Program {
        let sources = sources.iter().map(PathBuf::from).collect();
        Program { name: name.into(), sources, linking: Linking::Static, flags: Vec::new() }
    }

    /// The frame relay of `examples/c/h2relay`, an example of both halves of the C API.
    pub fn h2relay() -> Program {
        let sources = [
            "main",
            "crew",
            "options",
            "loop",
            "relay",
            "transfer",
            "frames",
            "tenants",
            "buffers_pool",
            "buffers_static",
            "stats",
        ];
        let sources = sources.iter().map(|name| PathBuf::from(format!("examples/c/h2relay/{name}.c"))).collect();
        Program { name: "h2relay".into(), sources, linking: Linking::Static, flags: Vec::new() }
    }

    /// Of a program in C that is linked statically: the same with `ffi-tests/c/counted.c`. It exits with an error if
    /// library allocates outside of the calls that make pools, or does not free everything.
    pub fn counted(mut self) -> Program {
        const ALLOCATOR: [&str; 9] =
            ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "mmap", "mmap64", "munmap", "free"];
        const MAKERS: [&str; 6] = [
            "pool_new",
            "pool_new_with_memory",
            "pool_free",
            "shared_pool_new",
            "shared_pool_shard",
            "shared_pool_free",
        ];
        let makers = MAKERS.iter().map(|name| format!("demuxbuf_{name}"));
        let wrapped = ALLOCATOR.iter().map(|name| (*name).to_owned()).chain(makers);
        self.flags.extend(wrapped.map(|name| format!("-Wl,--wrap={name}")));
        // The program's own calls go by the wrappers: only those of the library are counted.
        self.flags.extend(["malloc", "calloc", "realloc", "free"].map(|name| format!("-D{name}=__real_{name}")));
        self.sources.push("ffi-tests/c/counted.c".into());
        self
    }

    /// Builds it with every warning an error; returns where it is.
    ///
    /// # Panics
    ///
    /// The compiler refuses it.
    pub fn build(&self) -> PathBuf {
        self.try_build().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Like [`Program::build`]; the error names the failure and has all output.
    pub fn try_build(&self) -> Result<PathBuf, String> {
        self.try_build_with(try_library()?)
    }

    /// As [`Program::try_build`], with the library in this folder.
    pub fn try_build_with(&self, library: &Path) -> Result<PathBuf, String> {
        let is_cxx = self.sources.iter().any(|source| source.extension().is_some_and(|ending| ending == "cc"));
        let (variable, default, standard) =
            if is_cxx { ("CXX", "g++", "-std=c++17") } else { ("CC", "gcc", "-std=c11") };
        let compiler = std::env::var(variable).unwrap_or_else(|_| default.into());
        let folder = target().join("c");
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let program = folder.join(&self.name);
        // Tests and the demo build the same programs at the same time, and run them: each finds the old one or the
        // new, never half of one.
        static BUILDS: AtomicU32 = AtomicU32::new(0);
        let build = BUILDS.fetch_add(1, Ordering::Relaxed);
        let unfinished = folder.join(format!("{}.{}.{build}", self.name, std::process::id()));
        let mut command = Command::new(compiler);
        command.arg(standard).args(["-O2", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Iinclude"]);
        command.args(std::env::var("CFLAGS").unwrap_or_default().split_whitespace()).args(&self.flags);
        command.args(&self.sources).arg("-o").arg(&unfinished);
        match self.linking {
            Linking::Static => command.arg(library.join("libdemuxbuf.a")),
            Linking::Shared => {
                command.arg(library.join("libdemuxbuf.so")).arg(format!("-Wl,-rpath,{}", library.display()))
            }
        };
        command.args(["-lpthread", "-ldl", "-lm"]);
        try_run(command.current_dir(root()))?;
        std::fs::rename(&unfinished, &program).map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(program)
    }
}

/// Runs a program that prints the number of its checks in its last line; returns what it printed before. The words of
/// `RUNNER` are put before it, so that the same tests run under valgrind.
///
/// # Panics
///
/// It fails, or checked nothing.
pub fn run_checks(program: &Path, arguments: &[&str]) -> String {
    let runner = std::env::var("RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().chain(program.to_str()).chain(arguments.iter().copied());
    let printed = run(Command::new(words.next().expect("the program's path is text")).args(words));
    let (before, last) = printed.trim().rsplit_once('\n').unwrap_or(("", printed.trim()));
    let passed = last.strip_suffix(" checks passed").and_then(|count| count.parse::<u64>().ok());
    assert!(passed.is_some_and(|count| count > 0), "{} printed: {printed}", program.display());
    println!("{}: {last}", program.display());
    before.to_owned()
}

/// The compiler's arguments for a library of the system; `None` if pkg-config does not know it.
pub fn system_library(name: &str) -> Option<Vec<String>> {
    let output = Command::new("pkg-config").args(["--cflags", "--libs", name]).output().ok()?;
    let words = String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect();
    // The library stands before what needs it.
    output.status.success().then(|| [vec!["-Wl,--no-as-needed".to_owned()], words].concat())
}

/// Prints what this machine cannot run, past the test harness, which captures a test's output.
pub fn skip(what: &str) {
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// Runs a command to its end; returns what it printed.
///
/// # Panics
///
/// It cannot be started, or fails; its output is in the message.
pub fn run(command: &mut Command) -> String {
    try_run(command).unwrap_or_else(|error| panic!("{error}"))
}

/// Like [`run`]; the error has the command and its output.
pub fn try_run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        Ok(out.into_owned())
    } else {
        Err(format!("{command:?}: {}\n{out}{err}", output.status))
    }
}
