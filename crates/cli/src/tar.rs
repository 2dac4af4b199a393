//! A file with files in it: POSIX's ustar format (IEEE 1003.1-2017, pax), as much of it as small texts need.

/// Octets of a block.
const BLOCK: usize = 512;

/// An archive that grows.
#[derive(Debug, Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    /// Adds a file with a name of at most 100 octets, readable by its owner alone.
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) {
        let mut head = Vec::with_capacity(BLOCK);
        let mut field = |text: &str, length: usize| {
            let mut octets = text.as_bytes().to_vec();
            octets.resize(length, 0);
            head.extend_from_slice(&octets);
        };
        field(name, 100);
        field("0000600", 8);
        field("0000000", 8);
        field("0000000", 8);
        field(&format!("{:011o}", content.len()), 12);
        field("00000000000", 12);
        // The checksum counts itself as spaces.
        field("        ", 8);
        field("0", 1);
        field("", 100);
        field("ustar", 6);
        field("00", 2);
        field("", BLOCK - 265);
        let sum: u32 = head.iter().map(|octet| u32::from(*octet)).sum();
        let sum = format!("{sum:06o}\0 ");
        head.splice(148..156, sum.bytes());
        self.0.extend_from_slice(&head);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    /// The whole archive.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut tar = Tar::default();
        tar.add("a.txt", b"one");
        tar.add("b.txt", &[b'x'; 1024]);
        let path = directory.path().join("t.tar");
        std::fs::write(&path, tar.end()).expect("written");
        let read = |arguments: &[&str]| {
            let output = std::process::Command::new("tar").arg("-f").arg(&path).args(arguments).output().expect("tar");
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            output.stdout
        };
        assert_eq!(read(&["-t"]), b"a.txt\nb.txt\n");
        assert_eq!(read(&["-xO", "a.txt"]), b"one");
        assert_eq!(read(&["-xO", "b.txt"]), [b'x'; 1024]);
    }
}
