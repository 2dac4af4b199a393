//! `make acceptance`: runs the tests that the list of promises names, and says of each statement whether it was seen. The arguments are ids of
//! rows, or how those begin; without any it is the whole list. It ends with 0 only if all of them were seen.
//!
//! Every test program runs once with all of its tests that are wanted; those that need root run as root, the others without it. Laboratories
//! are processes of their own, several at a time. The suites of the official SDKs run as `scripts/test-sdk` does.
//!
//! `acceptance --judge KIND=LOG…` runs nothing: it says what a run of `scripts/test` has shown, from its logs (`rust`, `root`, `sdk`), and ends
//! with 1 if one of the list's tests failed there, or should have run and has no line that says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use causeway_policy::acceptance::{self, Document, Statement};
use causeway_policy::judgement::{self, Logs, Outcome, Outcomes, note};
use causeway_policy::program::{Named, Plan, plan};
use causeway_policy::proof::Test;
use causeway_policy::{outcome, root};

/// What the tests run as where root can leave that behind.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
/// A test program that has not ended after this long hangs.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Laboratories that run at once: they spend most of their time waiting. Beside them one of the other programs with root runs so many of its
/// tests. It is as much at once as `scripts/test` has.
const LABORATORIES: usize = 4;
const THREADS_BESIDE: usize = 5;
/// Where their tests are.
const LABORATORY: &str = "crates/lab";
/// How many of the longest runs are listed at the end.
const LONGEST: usize = 10;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is for people")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, logs)) if first == "--judge" => judge(logs),
        _ => run(&arguments),
    };
    match outcome {
        Ok((text, all)) => {
            println!("\n{text}");
            if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn documents() -> Result<Vec<Document>> {
    let documents = acceptance::read()?;
    let faults = acceptance::faults(&documents);
    ensure!(faults.is_empty(), "tests/acceptance:\n{}", faults.join("\n"));
    Ok(documents)
}

/// The tests of these statements: those in Rust, and those of the SDKs' suites.
fn tests(statements: &[&Statement]) -> Result<(BTreeSet<Test>, BTreeSet<Test>)> {
    let mut tests = BTreeSet::new();
    for statement in statements {
        tests.extend(statement.tests()?);
    }
    Ok(tests.into_iter().partition(|test| test.file.ends_with(".rs")))
}

fn judge(arguments: &[String]) -> Result<(String, bool)> {
    let documents = documents()?;
    let statements: Vec<&Statement> = documents.iter().flat_map(|one| &one.statements).collect();
    let mut logs = Logs::default();
    for argument in arguments {
        let (kind, path) = argument.split_once('=').with_context(|| format!("{argument} is no KIND=LOG"))?;
        let log = std::fs::read(path).with_context(|| path.to_owned())?;
        let log = String::from_utf8_lossy(&log).into_owned();
        match kind {
            "rust" => logs.rust.push(log),
            "root" => logs.root = Some(log),
            "sdk" => logs.suites = Some(log),
            _ => bail!("{kind} is no kind of log: rust, root or sdk"),
        }
    }
    let (rust, suites) = tests(&statements)?;
    judgement::summary(&statements, &judgement::of_logs(&plan(&rust, true)?, &suites, &logs))
}

fn run(wanted: &[String]) -> Result<(String, bool)> {
    let documents = documents()?;
    let chosen =
        |statement: &&Statement| wanted.is_empty() || wanted.iter().any(|start| statement.id.starts_with(start));
    let statements: Vec<&Statement> = documents.iter().flat_map(|one| &one.statements).filter(chosen).collect();
    for start in wanted {
        ensure!(statements.iter().any(|statement| statement.id.starts_with(start)), "no row's id begins with {start}");
    }
    let (rust, suites) = tests(&statements)?;
    let plan = if rust.is_empty() { Plan::new() } else { plan(&rust, wanted.is_empty())? };
    let place = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let target = place.canonicalize().with_context(|| format!("{}: build first", place.display()))?;
    let mut runner = Runner::new(&target)?;
    let begun = Instant::now();
    runner.plain(&plan)?;
    runner.suites(&suites)?;
    runner.with_root(&plan)?;
    let total = begun.elapsed();
    let (mut table, all) = judgement::table(&statements, &runner.outcomes)?;
    runner.times.sort_unstable();
    let tests = rust.len() + suites.len();
    table.push_str(&format!("\n{tests} tests took {}; the longest:", words(total)));
    for (took, what) in runner.times.iter().rev().take(LONGEST) {
        table.push_str(&format!("\n{:>10}  {what}", words(*took)));
    }
    Ok((table, all))
}

fn words(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

/// One call of a test program.
struct Job<'a> {
    program: &'a Path,
    folder: &'a Path,
    tests: BTreeMap<&'a str, &'a Test>,
    /// How many of them run at once.
    threads: usize,
    /// What it is called in output.
    what: String,
    log: PathBuf,
}

struct Runner {
    target: PathBuf,
    logs: PathBuf,
    as_root: bool,
    /// Root can run what needs no root as somebody else, who can read the sources and run what was built.
    can_leave: bool,
    outcomes: Outcomes,
    times: Vec<(Duration, String)>,
}

impl Runner {
    fn new(target: &Path) -> Result<Self> {
        let logs = target.join("test-logs");
        std::fs::create_dir_all(&logs)?;
        let as_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
        let can_leave = as_root && {
            let mut nobody = Command::new(NOBODY[0]);
            nobody.args(&NOBODY[1..]).args(["test", "-x"]).arg(target.join("debug")).args(["-a", "-r"]);
            nobody.arg(root().join("Cargo.toml")).status().is_ok_and(|status| status.success())
        };
        Ok(Self { target: target.to_owned(), logs, as_root, can_leave, outcomes: Outcomes::new(), times: Vec::new() })
    }

    /// The calls of programs: laboratories each by itself, others with all of their tests of this kind.
    fn jobs<'a>(&self, plan: &'a Plan, with_root: bool) -> Result<VecDeque<Job<'a>>> {
        let mut jobs = VecDeque::new();
        for (program, wanted) in plan {
            let stem = program.file_name().context("a name")?.to_string_lossy().into_owned();
            let suffix = if with_root { "-root" } else { "" };
            let threads = if with_root { THREADS_BESIDE } else { 2 };
            let mut add = |tests: BTreeMap<&'a str, &'a Test>, what: String, log: String| {
                let log = self.logs.join(format!("acceptance-{log}{suffix}.log"));
                jobs.push_back(Job { program, folder: &wanted.folder, tests, threads, what, log });
            };
            let of_round = |(name, named): (&'a String, &'a Named)| {
                (named.ignored == with_root).then_some((name.as_str(), &named.test))
            };
            let tests: BTreeMap<&str, &Test> = wanted.names.iter().filter_map(of_round).collect();
            if with_root && wanted.folder.ends_with(LABORATORY) {
                for (name, test) in tests {
                    add([(name, test)].into(), test.to_string(), format!("{stem}-{}", name.replace("::", "-")));
                }
            } else if !tests.is_empty() {
                let package = wanted.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let program = stem.rsplit_once('-').map_or(stem.as_str(), |(name, _)| name);
                let what = format!("{} of {package} {program}", tests.len());
                add(tests, what, stem);
            }
        }
        Ok(jobs)
    }

    /// The tests that need no root, a program after the other.
    fn plain(&mut self, plan: &Plan) -> Result<()> {
        for job in self.jobs(plan, false)? {
            let mut command = Command::new(job.program);
            if self.can_leave {
                command = Command::new(NOBODY[0]);
                command.args(&NOBODY[1..]).arg(job.program);
            }
            let (said, took) = call(command, &job)?;
            self.take(&job, &said, took);
        }
        Ok(())
    }

    /// The tests that need root: laboratories several at a time, beside them the others program by program.
    fn with_root(&mut self, plan: &Plan) -> Result<()> {
        let jobs = self.jobs(plan, true)?;
        if !self.as_root {
            for test in jobs.iter().flat_map(|job| job.tests.values()) {
                note(&mut self.outcomes, test, Outcome::NotRun("needs root".to_owned()));
            }
            return Ok(());
        }
        let (mut laboratories, others): (VecDeque<Job<'_>>, VecDeque<Job<'_>>) =
            jobs.into_iter().partition(|job| job.folder.ends_with(LABORATORY));
        // A story that is the only one of its program is a long one.
        let size = |job: &Job<'_>| plan.get(job.program).map_or(0, |wanted| wanted.names.len());
        laboratories.make_contiguous().sort_by_key(size);
        if laboratories.len() > 1 {
            // Where two of them want the environment of an SDK it is there already.
            for language in ["python", "go"] {
                let mut fetch = Command::new(root().join("tests/sdk").join(language).join("run"));
                fetch.arg("fetch").env("SDK_VENV", self.target.join("sdk-venv"));
                fetch.env("SDK_GO", self.target.join("sdk-go"));
                logged(&mut fetch, &self.logs.join(format!("acceptance-fetch-{language}.log")))?;
            }
        }
        let runner = Mutex::new(self);
        let work = |queue: &Mutex<VecDeque<Job<'_>>>| -> Result<()> {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(job) = next else { return Ok(()) };
                let (said, took) = call(Command::new(job.program), &job)?;
                runner.lock().unwrap_or_else(PoisonError::into_inner).take(&job, &said, took);
            }
        };
        let (laboratories, others) = (Mutex::new(laboratories), Mutex::new(others));
        std::thread::scope(|scope| {
            let queues = std::iter::once(&others).chain(std::iter::repeat_n(&laboratories, LABORATORIES));
            let workers: Vec<_> = queues.map(|queue| scope.spawn(|| work(queue))).collect();
            let end = |worker: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                worker.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked")))
            };
            workers.into_iter().try_for_each(end)
        })
    }

    #[expect(clippy::print_stdout, reason = "who waits sees how far it is")]
    fn took(&mut self, passed: bool, took: Duration, what: String) {
        println!("{} {:>10}  {what}", if passed { "ok    " } else { "FAILED" }, words(took));
        self.times.push((took, what));
    }

    /// Notes what a program has said of its tests.
    fn take(&mut self, job: &Job<'_>, said: &str, took: Duration) {
        let said = outcome::rust(said);
        let mut passed = true;
        for (name, test) in &job.tests {
            let outcome = match said.get(*name) {
                Some(true) => Outcome::Passed,
                _ => Outcome::Failed(format!("{test} did not pass: {}", job.log.display())),
            };
            passed &= outcome == Outcome::Passed;
            note(&mut self.outcomes, test, outcome);
        }
        self.took(passed, took, job.what.clone());
    }

    /// The suites of the official SDKs, each as a whole.
    fn suites(&mut self, tests: &BTreeSet<Test>) -> Result<()> {
        if tests.is_empty() {
            return Ok(());
        }
        let is_go = |test: &Test| test.file.ends_with(".go");
        let mut command = Command::new(root().join("scripts/test-sdk"));
        for (language, wanted) in [("python", !tests.iter().all(is_go)), ("go", tests.iter().any(is_go))] {
            if wanted {
                command.arg(language);
            }
        }
        let log = self.logs.join("acceptance-sdk.log");
        let (said, took) = logged(&mut command, &log)?;
        let (python, go) = (outcome::python(&said), outcome::go(&said));
        let mut passed = true;
        for test in tests {
            let outcome = match outcome::of_suite(test, &python, &go) {
                Some(true) => Outcome::Passed,
                Some(false) => Outcome::Failed(format!("{test} did not pass: {}", log.display())),
                None => Outcome::Failed(format!("{test} did not run: {}", log.display())),
            };
            passed &= outcome == Outcome::Passed;
            note(&mut self.outcomes, test, outcome);
        }
        self.took(passed, took, format!("{} of the official SDKs' suites", tests.len()));
        Ok(())
    }
}

/// Runs a test program with the tests of the job.
fn call(mut command: Command, job: &Job<'_>) -> Result<(String, Duration)> {
    command
        .args(job.tests.keys())
        .args(["--exact", "--include-ignored"])
        .arg(format!("--test-threads={}", job.threads));
    logged(command.current_dir(job.folder), &job.log)
}

/// Runs it, and returns what it wrote into the log and how long it took.
fn logged(command: &mut Command, log: &Path) -> Result<(String, Duration)> {
    let file = std::fs::File::create(log).with_context(|| log.display().to_string())?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let begun = Instant::now();
    let mut running = command.spawn().with_context(|| format!("{command:?}"))?;
    while running.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            running.kill()?;
            running.wait()?;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((String::from_utf8_lossy(&std::fs::read(log)?).into_owned(), begun.elapsed()))
}
