//! The text that Prometheus reads (exposition format 0.0.4): families of series, each with its help and its type.

use std::fmt::{Display, Write as _};

/// Its content type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// Goes up and down.
    Gauge,
    /// Goes up, and begins anew at 0.
    Counter,
}

/// A text that grows family by family.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family; what follows belongs to it.
    pub(crate) fn family(&mut self, name: &'static str, kind: Type, help: &'static str) {
        let kind = match kind {
            Type::Gauge => "gauge",
            Type::Counter => "counter",
        };
        self.name = name;
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One series of the family. Values of labels may hold anything.
    pub(crate) fn series(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.text.push_str(self.name);
        for (at, (label, of)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            let start = self.text.len();
            self.push(format_args!("{of}"));
            if self.text[start..].contains(['\\', '"', '\n']) {
                let value = self.text.split_off(start);
                self.text.push_str(&value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n"));
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.push(format_args!(" {value}\n"));
    }

    /// One series for each of `all`, of which the one that holds has 1 and every other one 0.
    pub(crate) fn states<S: Display + PartialEq>(
        &mut self,
        labels: &[(&str, &dyn Display)],
        label: &str,
        all: &[S],
        holds: &S,
    ) {
        for state in all {
            let mut labels = labels.to_vec();
            labels.push((label, state));
            self.series(&labels, u8::from(state == holds));
        }
    }

    /// The text.
    pub(crate) fn text(self) -> String {
        self.text
    }

    fn push(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        let _ = self.text.write_fmt(arguments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_hold_anything() {
        let mut text = Exposition::default();
        text.family("a", Type::Gauge, "What it is.");
        text.series(&[], 1);
        text.series(&[("b", &"x\"y\\z\n"), ("c", &7)], 0.5);
        text.family("d", Type::Counter, "Another.");
        text.states(&[("e", &"f")], "g", &["h", "i"], &"i");
        let expected = "# HELP a What it is.\n# TYPE a gauge\na 1\na{b=\"x\\\"y\\\\z\\n\",c=\"7\"} 0.5\n\
                        # HELP d Another.\n# TYPE d counter\nd{e=\"f\",g=\"h\"} 0\nd{e=\"f\",g=\"i\"} 1\n";
        assert_eq!(text.text(), expected);
    }
}
