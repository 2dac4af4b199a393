//! Named network namespaces, as `ip netns` knows them: `/run/netns/NAME`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::is_plain;
use crate::{Error, Result, sys};

const DIRECTORY: &str = "/run/netns";

/// A network namespace that is held open. Dropping it leaves the name in place; [`Namespace::delete`] takes it away.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    fd: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes the namespace `name` with its loopback up. The kernel takes some milliseconds for it, during which the calling thread waits.
    ///
    /// # Errors
    /// [`Error::is_exists`] when the name is taken; the kernel's error otherwise, after which nothing is left behind.
    pub fn create(name: &str) -> Result<Self> {
        let path = path_of(name)?;
        let action = || format!("create namespace {name}");
        let _lock = lock_directory().map_err(|error| Error::os(action(), error))?;
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| Error::os(action(), error))?;
        let made = thread::scope(|scope| {
            let worker = thread::Builder::new().name("netns-create".to_owned()).spawn_scoped(scope, || {
                sys::unshare_network()?;
                sys::loopback_up()?;
                rustix::mount::mount_bind("/proc/thread-self/ns/net", &path).map_err(io::Error::from)?;
                File::open("/proc/thread-self/ns/net")
            })?;
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        match made {
            Ok(file) => Ok(Self { name: name.to_owned(), fd: Arc::new(file.into()) }),
            Err(error) => {
                let _ = rustix::mount::unmount(&path, UnmountFlags::DETACH);
                let _ = fs::remove_file(&path);
                Err(Error::os(action(), error))
            }
        }
    }

    /// Opens the namespace `name`.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is none, also when only a stale file of that name is left.
    pub fn open(name: &str) -> Result<Self> {
        let path = path_of(name)?;
        let action = || format!("open namespace {name}");
        if !is_namespace(&path) {
            return Err(Error::os(action(), io::Error::from_raw_os_error(libc::ENOENT)));
        }
        let file = File::open(&path).map_err(|error| Error::os(action(), error))?;
        Ok(Self { name: name.to_owned(), fd: Arc::new(file.into()) })
    }

    /// The namespace of the calling thread, which need not have a name: [`Self::name`] is empty.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> Result<Self> {
        let file = File::open("/proc/thread-self/ns/net").map_err(|error| Error::os("open own namespace", error))?;
        Ok(Self { name: String::new(), fd: Arc::new(file.into()) })
    }

    /// The number of the calling thread's namespace: the kernel gives each another one, and none twice before it starts anew.
    ///
    /// # Errors
    /// The kernel is older than Linux 5.14.
    pub fn cookie_of_current() -> Result<u64> {
        sys::namespace_cookie().map_err(|error| Error::os("ask for the number of the own namespace", error))
    }

    /// Opens `name`, or makes it (clearing away a stale file of that name first).
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn ensure(name: &str) -> Result<Self> {
        match Self::open(name) {
            Err(error) if error.is_not_found() => {
                Self::delete(name)?;
                Self::create(name)
            }
            other => other,
        }
    }

    /// Whether the namespace `name` exists.
    #[must_use]
    pub fn exists(name: &str) -> bool {
        path_of(name).is_ok_and(|path| is_namespace(&path))
    }

    /// Takes the name away; no error if there is none. The namespace itself goes when the last socket, process and handle in
    /// it is gone, and the kernel then removes its links in the background: delete the outer end of a veth pair first if its name is to be free at
    /// once.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn delete(name: &str) -> Result<()> {
        let path = path_of(name)?;
        match rustix::mount::unmount(&path, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(Error::os(format!("unmount namespace {name}"), error)),
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::os(format!("delete namespace {name}"), error))
            }
            _ => Ok(()),
        }
    }

    /// The names of all namespaces that start with `prefix`, sorted, stale files included so that they can be deleted.
    ///
    /// # Errors
    /// The file system's error; no directory means no namespaces.
    pub fn list(prefix: &str) -> Result<Vec<String>> {
        let action = || format!("list {DIRECTORY}");
        let entries = match fs::read_dir(DIRECTORY) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::os(action(), error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| Error::os(action(), error))?.file_name();
            if let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path that `ip netns` and `nsenter --net=` take.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs `f` inside the namespace, on a thread of its own that ends with it. Sockets, TUN devices and child processes made
    /// by `f` stay in the namespace. The caller waits, so `f` shall be short, or the call be made on a blocking thread.
    ///
    /// # Errors
    /// No thread, or the namespace can't be entered (not root).
    ///
    /// # Panics
    /// When `f` does.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let worker = thread::Builder::new().name("netns-run".to_owned()).spawn_scoped(scope, || {
                move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network)).map(|()| f())
            });
            let worker = worker.map_err(|error| Error::os("start a thread", error))?;
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                .map_err(|error| Error::os(format!("enter namespace {}", self.name), error))
        })
    }

    /// Starts a program inside the namespace.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.run(|| command.spawn())?.map_err(|error| Error::os(format!("start {program} in {}", self.name), error))
    }

    /// Starts a program inside the namespace, its end being watched by the current tokio runtime.
    ///
    /// # Errors
    /// The program can't be started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_async(&self, command: &mut tokio::process::Command) -> Result<tokio::process::Child> {
        let runtime = tokio::runtime::Handle::current();
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        self.run(|| {
            let _context = runtime.enter();
            command.spawn()
        })?
        .map_err(|error| Error::os(format!("start {program} in {}", self.name), error))
    }

    /// Runs the program `argv` inside the namespace to its end and returns what it printed. Its standard input is empty.
    ///
    /// # Errors
    /// `argv` is empty, or the program can't be started. Its exit status is the caller's to judge.
    pub fn command(&self, argv: &[&str]) -> Result<Output> {
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| Error::os("start a program", io::Error::from(io::ErrorKind::InvalidInput)))?;
        self.run(|| Command::new(program).args(arguments).stdin(Stdio::null()).output())?
            .map_err(|error| Error::os(format!("run {program} in {}", self.name), error))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Namespace {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn path_of(name: &str) -> Result<PathBuf> {
    if (1..=64).contains(&name.len()) && is_plain(name) {
        Ok(Path::new(DIRECTORY).join(name))
    } else {
        Err(Error::Name { what: "namespace", name: name.to_owned() })
    }
}

/// Whether a namespace is mounted at `path`; after a reboot of a container the bare file may be left.
fn is_namespace(path: &Path) -> bool {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|statfs| u64::try_from(statfs.f_type).is_ok_and(|magic| magic == NSFS_MAGIC))
}

/// Makes the directory the shared mount that `ip netns` makes of it, so that a deletion is seen in other mount namespaces too,
/// and locks it against whoever does the same.
fn lock_directory() -> io::Result<File> {
    fs::create_dir_all(DIRECTORY)?;
    let lock = File::open(DIRECTORY)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let share = || rustix::mount::mount_change(DIRECTORY, MountPropagationFlags::SHARED | MountPropagationFlags::REC);
    if share() == Err(rustix::io::Errno::INVAL) {
        rustix::mount::mount_bind_recursive(DIRECTORY, DIRECTORY)?;
        share()?;
    }
    Ok(lock)
}
