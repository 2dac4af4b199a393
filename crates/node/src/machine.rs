//! Which machine a node's process runs on, as its forwarding lease sees machines.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use causeway_crypto::sha256;
use causeway_linux::Namespace;
use causeway_model::MachineId;
use uuid::Uuid;

/// Another one at every start of a kernel.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The machine: this start of this kernel, the network namespace of the calling thread, and the node's directory. Whatever outlives the process
/// and may forward is in that namespace, and what a copy of the directory does not know is in the directory.
///
/// # Errors
/// One of them cannot be told.
pub fn machine(directory: &Path) -> io::Result<MachineId> {
    let boot = fs::read_to_string(BOOT)?;
    let namespace = Namespace::cookie_of_current().map_err(io::Error::other)?;
    let folder = fs::metadata(directory)?;
    let numbers = [namespace, folder.dev(), folder.ino()].map(u64::to_be_bytes);
    let hash = sha256(&[b"causeway machine", boot.trim().as_bytes(), numbers.as_flattened()]);
    let mut half = uuid::Bytes::default();
    half.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    Ok(MachineId(Uuid::from_bytes(half)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_directory_is_another_machine() {
        let [one, other] = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
        let known = machine(one.path()).expect("told");
        assert_eq!(machine(one.path()).expect("told"), known);
        assert_ne!(machine(other.path()).expect("told"), known);
        assert!(machine(&one.path().join("none")).is_err());
    }

    #[test]
    #[ignore = "needs root; `make test` runs it"]
    fn another_namespace_is_another_machine_also_when_an_earlier_one_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut seen = vec![machine(directory.path()).expect("told")];
        for _ in 0..3 {
            let name = format!("cw-machine-{}", std::process::id());
            let namespace = Namespace::create(&name).expect("made");
            let path = directory.path().to_owned();
            seen.push(namespace.run(move || machine(&path)).expect("entered").expect("told"));
            Namespace::delete(&name).expect("deleted");
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }
}
