//! Names of tests, as documents and lists write them: `FILE NAME`. The file is below `crates/`, or begins with `tests/` or `bench/`; the name
//! is a function's in Rust and Go, and `Class.method` in Python.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::root;

/// Where a test is and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// Its file, from the repository's root.
    pub file: String,
    /// Its name in that file.
    pub name: String,
}

impl Test {
    /// Reads `FILE NAME`.
    ///
    /// # Errors
    /// It has another form.
    pub fn read(text: &str) -> Result<Self> {
        let (file, name) = text.split_once(' ').with_context(|| format!("{text} is no file and name"))?;
        ensure!(!name.is_empty() && !name.contains(' '), "{text} is no file and name");
        let whole = ["tests/", "bench/"].iter().any(|start| file.starts_with(start));
        Ok(Self { file: if whole { file.to_owned() } else { format!("crates/{file}") }, name: name.to_owned() })
    }

    /// The source of the test's body.
    ///
    /// # Errors
    /// There is no such file, nothing of that name in it, or it is no test.
    pub fn body(&self) -> Result<String> {
        let path = root().join(&self.file);
        let source = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let found = match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => rust(&source, &self.name)?,
            Some("py") => python(&source, &self.name),
            Some("go") => go(&source, &self.name),
            _ => bail!("{} is in no language that tests are found in", self.file),
        };
        found.with_context(|| format!("{} has no test {}", self.file, self.name))
    }

    /// The modules that a Rust file stands for within its target: those of `a/tests/it/b.rs` and of `a/src/b.rs` are `b`.
    ///
    /// # Errors
    /// The file is in no package.
    pub fn modules(&self) -> Result<Vec<String>> {
        let (package, name) = target(&self.file)?;
        let inside = Path::new(&self.file).strip_prefix(package)?.with_extension("");
        // Below tests/ comes the target's name first.
        let parts =
            inside.iter().skip(if name.is_some() { 2 } else { 1 }).map(|part| part.to_string_lossy().into_owned());
        Ok(parts.filter(|part| !matches!(part.as_str(), "main" | "lib" | "mod")).collect())
    }
}

impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.file.strip_prefix("crates/").unwrap_or(&self.file), self.name)
    }
}

/// The body of a Rust function, from its arguments to the end at its own indentation. A function that `with_both!` names is two tests.
fn rust(source: &str, name: &str) -> Result<Option<String>> {
    let plain = source.split_once(&format!("fn {name}("));
    let Some((before, body)) = plain.or_else(|| source.split_once(&format!("fn {name}<"))) else { return Ok(None) };
    let lines = before.rsplit('\n').skip(1).map(str::trim);
    let mut attributes = lines.take_while(|line| line.starts_with('#') || line.starts_with("///"));
    let is_test = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let of_both = source.split_once("with_both! {").and_then(|(_, rest)| rest.split_once("\n}"));
    let named =
        of_both.is_some_and(|(names, _)| names.lines().any(|line| line.split_whitespace().next() == Some(name)));
    ensure!(named || attributes.any(is_test), "{name} is no test");
    let head = before.rsplit('\n').next().unwrap_or_default();
    let indentation = " ".repeat(head.len() - head.trim_start().len());
    let end = format!("\n{indentation}}}\n");
    Ok(Some(body.split_once(&end).map_or(body, |(body, _)| body).to_owned()))
}

/// The body of a method that unittest finds, as `Class.method`.
fn python(source: &str, name: &str) -> Option<String> {
    let (class, method) = name.split_once('.')?;
    let (_, rest) = source.split_once(&format!("\nclass {class}("))?;
    let class = rest.split("\nclass ").next()?;
    let (_, body) = class.split_once(&format!("\n    def {method}("))?;
    method.starts_with("test").then(|| body.split("\n    def ").next().unwrap_or(body).to_owned())
}

/// The body of a function that `go test` finds.
fn go(source: &str, name: &str) -> Option<String> {
    let (_, body) = source.split_once(&format!("\nfunc {name}(t *testing.T)"))?;
    name.starts_with("Test").then(|| body.split("\n}\n").next().unwrap_or(body).to_owned())
}

/// The folder of the package that a Rust file belongs to, and the name of its target; `None` for the library or program itself.
///
/// # Errors
/// The file is in no package.
pub fn target(file: &str) -> Result<(PathBuf, Option<String>)> {
    let path = PathBuf::from(file);
    let package = path.ancestors().skip(1).find(|folder| root().join(folder).join("Cargo.toml").exists());
    let package =
        package.filter(|folder| !folder.as_os_str().is_empty()).with_context(|| format!("{file} is in no package"))?;
    let mut inside = path.strip_prefix(package)?.iter().map(|part| part.to_string_lossy().into_owned());
    let of_tests = inside.next().is_some_and(|first| first == "tests");
    let name = inside.next().map(|name| name.trim_end_matches(".rs").to_owned());
    Ok((package.to_owned(), name.filter(|_| of_tests)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_for_its_modules_and_its_target() -> Result<()> {
        let cases: [(&str, &[&str], &str, Option<&str>); 6] = [
            ("controller/tests/it/links.rs f", &["links"], "crates/controller", Some("it")),
            ("lab/tests/vpn.rs f", &[], "crates/lab", Some("vpn")),
            ("node/tests/two_nodes/main.rs f", &[], "crates/node", Some("two_nodes")),
            ("model/src/status/link/tests.rs f", &["status", "link", "tests"], "crates/model", None),
            ("cli/src/tests/links.rs f", &["tests", "links"], "crates/cli", None),
            ("tests/policy/src/proof.rs f", &["proof"], "tests/policy", None),
        ];
        for (text, modules, package, name) in cases {
            let test = Test::read(text)?;
            assert_eq!(test.modules()?, modules, "{text}");
            let found = target(&test.file)?;
            assert_eq!((found.0.as_path(), found.1.as_deref()), (Path::new(package), name), "{text}");
            assert_eq!(test.to_string(), text);
        }
        Ok(())
    }

    #[test]
    fn only_tests_are_found() {
        let source = "/// A word.\n#[test]\nfn one() {\n    1;\n}\n\nfn two() {\n}\n    #[test]\n    fn three() {\n        3;\n    }\n";
        assert_eq!(rust(source, "one").expect("a test").as_deref(), Some(") {\n    1;"));
        assert_eq!(rust(source, "three").expect("a test").as_deref(), Some(") {\n        3;"));
        assert!(rust(source, "two").is_err());
        assert_eq!(rust(source, "four").expect("nothing"), None);
        let source = "\nclass A(TestCase):\n    def test_a(self):\n        a\n    def help(self):\n        b\n\nclass B(A):\n    def test_b(self):\n        c\n";
        assert_eq!(python(source, "A.test_a").as_deref(), Some("self):\n        a"));
        for none in ["A.test_b", "A.help", "C.test_a", "test_a"] {
            assert_eq!(python(source, none), None, "{none}");
        }
        let source = "\nfunc TestA(t *testing.T) {\n\ta\n}\n\nfunc help(t *testing.T) {\n}\n";
        assert_eq!(go(source, "TestA").as_deref(), Some(" {\n\ta"));
        assert_eq!(go(source, "help"), None);
    }
}
