//! The program under test, as its users have it: one process that serves, and one for every command.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// What would never come ends a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const PROGRAM: &str = env!("CARGO_BIN_EXE_causeway");

/// Where the service runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// As the user who runs the tests, without a gateway node.
    Here,
    /// With a gateway node, and a network and `/run` of its own, so that nothing of the machine is touched. Needs root.
    Apart,
}

/// A service that runs.
pub(crate) struct Service {
    place: Place,
    directory: TempDir,
    process: Child,
    lines: Receiver<String>,
    /// What clients need to know.
    pub(crate) environment: BTreeMap<String, String>,
}

impl Service {
    /// Starts it in a new directory, at a port that the kernel chooses.
    pub(crate) fn start(place: Place) -> Self {
        Self::start_at(place, "127.0.0.1:0")
    }

    /// The same at this address.
    pub(crate) fn start_at(place: Place, listen: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (process, lines) = serve(place, directory.path(), listen);
        let mut service = Self { place, directory, process, lines, environment: BTreeMap::new() };
        service.ready();
        service
    }

    /// The same with a listener for nodes; its URL beside it.
    pub(crate) fn start_for_nodes() -> (Self, String) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = program(Place::Here);
        command.env("CAUSEWAY_FLEET_LISTEN", "127.0.0.1:0");
        let (process, lines) = serve_with(command, directory.path(), "127.0.0.1:0");
        let mut service = Self { place: Place::Here, directory, process, lines, environment: BTreeMap::new() };
        let line = service.line("join at ");
        let url = line.split_whitespace().last().expect("a URL").to_owned();
        service.ready();
        (service, url)
    }

    /// Waits until it serves, and reads what it wrote for clients.
    fn ready(&mut self) {
        self.line("serving ");
        let text = std::fs::read_to_string(self.directory.path().join("operator.env")).expect("operator.env");
        let variables = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        self.environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert!(self.environment.contains_key("SCW_SECRET_KEY"), "{:?}", self.environment.keys());
    }

    /// The next line of its output that contains `part`.
    pub(crate) fn line(&mut self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{part:?} does not come ({error}): {seen:#?}"),
            }
        }
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        self.directory.path()
    }

    /// A file that nobody else has.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// SIGTERM; how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        signal(&self.process, "TERM");
        ended(&mut self.process)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a process");
        ended(&mut self.process);
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        let url = &self.environment["SCW_API_URL"];
        let address = url.strip_prefix("http://").expect("an address").to_owned();
        (self.process, self.lines) = serve(self.place, self.directory.path(), &address);
        self.ready();
    }

    /// A command with these words, to be run by whoever wants to.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = match self.place {
            Place::Here => Command::new(PROGRAM),
            Place::Apart => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/proc/{}/ns/net", self.process.id())).arg(PROGRAM);
                command
            }
        };
        command.args(words).env_clear().envs(&self.environment).env("PATH", path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        Outcome::new(words, self.command(words).output().expect("the program starts"))
    }

    /// What a command that succeeds prints.
    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let outcome = self.run(words);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        outcome.out
    }

    /// The document that a command prints for programs.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let out = self.ok(&[words, &["-o", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}"))
    }

    /// What a command that fails with this code says; it has to contain `part`.
    #[track_caller]
    pub(crate) fn fails(&self, words: &[&str], code: i32, part: &str) -> String {
        let outcome = self.run(words);
        assert_eq!(outcome.code, Some(code), "{outcome:#?}");
        assert!(outcome.err.contains(part), "{part:?} is not in {outcome:#?}");
        assert_eq!(outcome.out, "", "what fails prints no result: {outcome:#?}");
        outcome.err
    }

    /// The names in a list.
    #[track_caller]
    pub(crate) fn names(&self, words: &[&str]) -> Vec<String> {
        let list = self.json(words);
        let items = list.as_array().unwrap_or_else(|| panic!("{words:?}: {list}"));
        items.iter().map(|item| item["name"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A test that failed leaves nothing running. With a node apart, its namespaces end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its words, for messages.
    #[expect(dead_code, reason = "read by `Debug`")]
    words: Vec<String>,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    fn new(words: &[&str], output: Output) -> Self {
        let text = |octets| String::from_utf8(octets).expect("UTF-8");
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// A command that goes on, and its lines.
pub(crate) struct Following {
    process: Child,
    lines: Receiver<String>,
}

impl Following {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = lines(&mut process);
        Self { process, lines }
    }

    /// The next line that contains `part`.
    pub(crate) fn line(&self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(_) => {}
                Err(error) => panic!("{part:?} does not come: {error}"),
            }
        }
    }

    /// Its exit code, and what it said on standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = ended(&mut self.process);
        let mut err = String::new();
        let mut from = self.process.stderr.take().expect("a pipe");
        std::io::Read::read_to_string(&mut from, &mut err).expect("UTF-8");
        (status.code(), err)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())
}

fn serve(place: Place, data: &Path, listen: &str) -> (Child, Receiver<String>) {
    serve_with(program(place), data, listen)
}

fn program(place: Place) -> Command {
    match place {
        Place::Here => {
            let mut command = Command::new(PROGRAM);
            command.env("CAUSEWAY_NODE_ENABLED", "no");
            command
        }
        Place::Apart => {
            let mut command = Command::new("unshare");
            let script = "mount -t tmpfs none /run && ip link set lo up && exec \"$0\" \"$@\"";
            command.args(["--net", "--mount", "sh", "-c", script, PROGRAM]);
            command.env("CAUSEWAY_NODE_ENABLED", "yes");
            command
        }
    }
}

fn serve_with(mut command: Command, data: &Path, listen: &str) -> (Child, Receiver<String>) {
    command.args(["serve", "--listen", listen, "--data"]).arg(data).env("CAUSEWAY_LOG", "warn");
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program starts");
    let lines = lines(&mut process);
    (process, lines)
}

/// The lines of a process's output as they come.
fn lines(process: &mut Child) -> Receiver<String> {
    let from = BufReader::new(process.stdout.take().expect("a pipe"));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Sends a signal.
pub(crate) fn signal(process: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status();
    assert!(status.expect("kill starts").success());
}

fn ended(process: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = process.try_wait().expect("a process") {
            return status;
        }
        assert!(Instant::now() < end, "the process does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}
