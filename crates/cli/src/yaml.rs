//! A document as YAML 1.2. Only writing is needed, and what is written is JSON with other punctuation, so there is no library for it.

use serde_json::Value;

/// Block style; strings are plain where no reader of YAML, old or new, can take them for something else, and double-quoted elsewhere.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    if is_block(value) {
        block(&mut out, value, 0, false);
    } else {
        out.push_str(&scalar(value));
        out.push('\n');
    }
    out
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    }
}

/// `started`: the line has its `- ` already, so the first entry goes there.
fn block(out: &mut String, value: &Value, depth: usize, started: bool) {
    let pad = |out: &mut String, first: bool| {
        if !(first && started) {
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    match value {
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                pad(out, number == 0);
                out.push_str("- ");
                if is_block(item) {
                    block(out, item, depth + 1, true);
                } else {
                    out.push_str(&scalar(item));
                    out.push('\n');
                }
            }
        }
        Value::Object(fields) => {
            for (number, (key, item)) in fields.iter().enumerate() {
                pad(out, number == 0);
                out.push_str(&string(key));
                out.push(':');
                if is_block(item) {
                    out.push('\n');
                    block(out, item, depth + 1, false);
                } else {
                    out.push(' ');
                    out.push_str(&scalar(item));
                    out.push('\n');
                }
            }
        }
        _ => {}
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        // Numbers, booleans, null, `[]` and `{}` are the same in both languages.
        other => other.to_string(),
    }
}

fn string(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Line and paragraph separators break lines in YAML 1.1; the rest is not printable there.
            '\u{2028}' | '\u{2029}' | '\u{feff}' => out.push_str(&format!("\\u{:04X}", character as u32)),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Letters first, then only what never means anything; and none of the words that some version of YAML takes for a boolean or null.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "_-./".contains(character))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nesting_follows_the_document() {
        let value = json!([
            {"asn": 12876, "name": "gw", "public": {"a": null, "b": []}, "tags": ["x", "y: z"]},
            {"nested": [[1, 2], {}], "ok": true},
        ]);
        let expected = "\
- asn: 12876
  name: gw
  public:
    a: null
    b: []
  tags:
    - x
    - \"y: z\"
- nested:
    - - 1
      - 2
    - {}
  ok: true
";
        assert_eq!(to_yaml(&value), expected);
        assert_eq!(to_yaml(&json!([])), "[]\n");
        assert_eq!(to_yaml(&json!("a")), "a\n");
    }

    #[test]
    fn a_string_stays_a_string() {
        for text in
            ["", "no", "NULL", "1e3", "0x10", "-", "- a", "a: b", "a #b", "2026-07-28T12:29:08Z", "~", "*a", "ü", "a b"]
        {
            let yaml = string(text);
            assert!(yaml.starts_with('"') && yaml.ends_with('"'), "{text:?} became {yaml}");
        }
        assert_eq!(string("a\"\\\n\u{1b}\u{85}\u{2028}"), r#""a\"\\\n\u001B\u0085\u2028""#);
        assert_eq!(string("VGW-S"), "VGW-S");
        assert_eq!(string("/"), "\"/\"");
    }
}
