//! SPDX licence expressions, as far as packages use them: identifiers, `WITH`, `AND`, `OR` (`/` in old packages) and parentheses.

use anyhow::{Result, bail};

/// Whether one can choose from `expression` so that only licences of `allowed` remain.
///
/// # Errors
/// It is not an expression.
pub fn admitted(expression: &str, allowed: &[String]) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let admitted = parser.any()?;
    if let Some(word) = parser.words.first() {
        bail!("{word:?} is one too many in {expression:?}");
    }
    Ok(admitted)
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
}

impl Parser<'_> {
    fn eat(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn any(&mut self) -> Result<bool> {
        let mut admitted = self.all()?;
        while self.eat("OR") {
            admitted |= self.all()?;
        }
        Ok(admitted)
    }

    fn all(&mut self) -> Result<bool> {
        let mut admitted = self.one()?;
        while self.eat("AND") {
            admitted &= self.one()?;
        }
        Ok(admitted)
    }

    fn one(&mut self) -> Result<bool> {
        if self.eat("(") {
            let admitted = self.any()?;
            if !self.eat(")") {
                bail!("a parenthesis is not closed");
            }
            return Ok(admitted);
        }
        let Some((first, rest)) = self.words.split_first() else { bail!("an identifier is missing") };
        if matches!(*first, "OR" | "AND" | "WITH" | ")") {
            bail!("{first:?} is no identifier");
        }
        self.words = rest;
        let mut name = (*first).to_owned();
        if self.eat("WITH") {
            let Some((exception, rest)) = self.words.split_first() else { bail!("an exception is missing") };
            self.words = rest;
            name = format!("{name} WITH {exception}");
        }
        Ok(self.allowed.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_and_conjunctions() {
        let allowed = ["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only AND MIT", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
            ("Apache-2.0", false),
            ("GPL-2.0/MIT", true),
            ("ISC AND (GPL-2.0 OR MIT)", true),
            ("(ISC AND GPL-2.0) OR GPL-3.0", false),
        ] {
            assert_eq!(admitted(expression, &allowed).expect("an expression"), expected, "{expression}");
        }
        for broken in ["", "MIT OR", "(MIT", "MIT ISC", "MIT WITH"] {
            assert!(admitted(broken, &allowed).is_err(), "{broken}");
        }
    }
}
