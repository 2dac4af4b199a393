//! Server-sent events (HTML standard, §9.2): a stream's octets become messages.

use std::time::Duration;

/// Octets of one line, and of one event's data, at most.
const MAX_EVENT: usize = 1 << 20;

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// An event.
    Event {
        /// Its kind; `message` if it has none.
        kind: String,
        /// Its number, to be told when coming again.
        id: Option<u64>,
        /// What it says.
        data: String,
    },
    /// How long to wait before coming again.
    Retry(Duration),
}

/// Reads a stream piece by piece; pieces may end anywhere.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_return: bool,
    kind: String,
    id: Option<u64>,
    data: Option<String>,
}

impl Parser {
    /// The messages that this piece completes. `Err`: the stream is none of ours.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<Vec<Message>, String> {
        let mut messages = Vec::new();
        for octet in piece {
            let after_return = std::mem::take(&mut self.after_return);
            match octet {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    self.after_return = *octet == b'\r';
                    let line = std::mem::take(&mut self.line);
                    messages.extend(self.end_of_line(&String::from_utf8_lossy(&line))?);
                }
                _ if self.line.len() >= MAX_EVENT => return Err(too_long()),
                _ => self.line.push(*octet),
            }
        }
        Ok(messages)
    }

    fn end_of_line(&mut self, line: &str) -> Result<Option<Message>, String> {
        if line.is_empty() {
            return Ok(self.end_of_event());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "id" => self.id = value.parse().ok(),
            "retry" => {
                return Ok(value.parse().ok().map(|milliseconds| Message::Retry(Duration::from_millis(milliseconds))));
            }
            "data" => {
                let data = match self.data.take() {
                    Some(data) => data + "\n" + value,
                    None => value.to_owned(),
                };
                if data.len() > MAX_EVENT {
                    return Err(too_long());
                }
                self.data = Some(data);
            }
            // An empty field name is a comment, which shows that the other end lives.
            _ => {}
        }
        Ok(None)
    }

    fn end_of_event(&mut self) -> Option<Message> {
        let (kind, id) = (std::mem::take(&mut self.kind), self.id.take());
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        self.data.take().map(|data| Message::Event { kind, id, data })
    }
}

fn too_long() -> String {
    format!("an event is longer than {MAX_EVENT} octets")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, id: Option<u64>, data: &str) -> Message {
        Message::Event { kind: kind.to_owned(), id, data: data.to_owned() }
    }

    #[test]
    fn pieces_may_end_anywhere() {
        let stream = ": events\nretry: 1500\n\nid: 7\nevent: change\ndata: {\"ü\":1}\n\n:\n\ndata:a\r\ndata: b\r\n\r\nid: x\rdata\r\rdata: lost";
        let expected = [
            Message::Retry(Duration::from_millis(1500)),
            event("change", Some(7), "{\"ü\":1}"),
            event("message", None, "a\nb"),
            event("message", None, ""),
        ];
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                seen.extend(parser.take(piece).expect("a stream"));
            }
            assert_eq!(seen, expected, "pieces of {size}");
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        let mut parser = Parser::default();
        assert!(parser.take(&vec![b'x'; MAX_EVENT]).is_ok());
        assert!(parser.take(b"x").is_err());
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &vec![b'x'; MAX_EVENT - 6], b"\n"].concat();
        assert!(parser.take(&line).is_ok());
        assert!(parser.take(&line).is_err());
    }
}
