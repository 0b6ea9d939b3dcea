//! The JSON of trust data, read character by character: slow, obvious, and without the parser that the product uses.

#[derive(Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// `None` if it must be refused.
pub fn read(bytes: &[u8]) -> Option<Json> {
    let mut reader = Reader { rest: std::str::from_utf8(bytes).ok()? };
    let json = reader.value(0)?;
    reader.space();
    reader.rest.is_empty().then_some(json)
}

/// TRUST.md, "Canonical JSON".
pub fn canonical(json: &Json) -> Vec<u8> {
    match json {
        Json::Null => b"null".to_vec(),
        Json::Bool(value) => value.to_string().into_bytes(),
        Json::Integer(value) => value.to_string().into_bytes(),
        Json::Text(text) => quoted(text),
        Json::List(items) => {
            let items: Vec<_> = items.iter().map(canonical).collect();
            [b"[", items.join(&b","[..]).as_slice(), b"]"].concat()
        }
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_bytes());
            let members: Vec<_> =
                members.iter().map(|(key, value)| [quoted(key), canonical(value)].join(&b':')).collect();
            [b"{", members.join(&b","[..]).as_slice(), b"}"].concat()
        }
    }
}

fn quoted(text: &str) -> Vec<u8> {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")).into_bytes()
}

/// TRUST.md, row 98: 127 levels are the most.
const DEPTH: usize = 127;
/// TRUST.md, row 95.
const LIMIT: u64 = 1 << 53;

/// The text that was not read yet.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Json> {
        self.space();
        for (word, value) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
            if self.take(word) {
                return Some(value);
            }
        }
        match self.rest.chars().next()? {
            '"' => self.string().map(Json::Text),
            '[' | '{' if depth == DEPTH => None,
            '[' => self.list(depth + 1),
            '{' => self.object(depth + 1),
            _ => self.integer(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        let mut items = Vec::new();
        self.take("[").then_some(())?;
        if !self.take_after_space("]") {
            loop {
                items.push(self.value(depth)?);
                if self.take_after_space("]") {
                    break;
                }
                self.take(",").then_some(())?;
            }
        }
        Some(Json::List(items))
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        let mut members: Vec<(String, Json)> = Vec::new();
        self.take("{").then_some(())?;
        if !self.take_after_space("}") {
            loop {
                self.space();
                let name = self.string()?;
                self.take_after_space(":").then_some(())?;
                if members.iter().any(|(known, _)| *known == name) {
                    return None;
                }
                let value = self.value(depth)?;
                members.push((name, value));
                if self.take_after_space("}") {
                    break;
                }
                self.take(",").then_some(())?;
            }
        }
        Some(Json::Object(members))
    }

    fn string(&mut self) -> Option<String> {
        let mut out = String::new();
        self.take("\"").then_some(())?;
        loop {
            match self.next()? {
                '"' => return Some(out),
                '\\' => out.push(self.escape()?),
                c if c < ' ' => return None,
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            'u' => {
                let unit = self.unit()?;
                let second = match unit {
                    0xd800..0xdc00 => Some(self.take("\\u").then(|| self.unit())??),
                    _ => None,
                };
                let units = std::iter::once(unit).chain(second);
                let mut decoded = char::decode_utf16(units);
                return decoded.next()?.ok().filter(|_| decoded.next().is_none());
            }
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            c @ ('"' | '\\' | '/') => c,
            _ => return None,
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u16> {
        (0..4).try_fold(0, |unit, _| Some(unit * 16 + u16::try_from(self.next()?.to_digit(16)?).ok()?))
    }

    /// An integer in its one spelling.
    fn integer(&mut self) -> Option<Json> {
        let end = self.rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let number: i64 = digits.parse().ok()?;
        (number.unsigned_abs() <= LIMIT && number.to_string() == digits).then_some(Json::Integer(number))
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take_after_space(&mut self, text: &str) -> bool {
        self.space();
        self.take(text)
    }
}
