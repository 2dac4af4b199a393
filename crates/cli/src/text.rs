//! Text that came from elsewhere, made fit for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal might obey the character instead of showing it, or show others in another order.
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with such characters written as escapes. Names are free text of whoever made the object.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_dangerous(character) {
            let _ = write!(safe, "{}", character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// A word as a POSIX shell reads it back.
pub(crate) fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-._/:@%+=,".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", printable(text).replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(printable("büro 1"), "büro 1");
        assert_eq!(printable("a\u{1b}[2Jb\n\u{9b}c\u{202e}"), r"a\u{1b}[2Jb\u{a}\u{9b}c\u{202e}");
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(shell_word("office-1"), "office-1");
        assert_eq!(shell_word("my office"), "'my office'");
        assert_eq!(shell_word("it's $x"), r"'it'\''s $x'");
        assert_eq!(shell_word(""), "''");
    }
}
