//! JSON with its order, its duplicates and its spelling, and changes of it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::bytes;
use crate::random::Random;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// As it stands in the text: a number, a word, or anything else.
    Raw(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// A name or an index.
#[derive(Clone, Debug)]
enum Step {
    Name(usize),
    Index(usize),
}

impl Json {
    pub fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Object(members) => {
                Self::Object(members.iter().map(|(name, value)| (name.clone(), Self::of(value))).collect())
            }
            other => Self::Raw(other.to_string()),
        }
    }

    pub fn read(text: &[u8]) -> Self {
        Self::of(&serde_json::from_slice(text).expect("sound JSON"))
    }

    pub fn write(&self) -> String {
        let list = |items: Vec<String>| items.join(",");
        match self {
            Self::Raw(text) => text.clone(),
            Self::Text(text) => quoted(text),
            Self::List(items) => format!("[{}]", list(items.iter().map(Self::write).collect())),
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| format!("{}:{}", quoted(name), value.write());
                format!("{{{}}}", list(members.iter().map(member).collect()))
            }
        }
    }

    /// With one or two changes, as text. `others` are trees of the same kind, from which values are taken.
    pub fn changed(&self, others: &[&Self], random: &mut Random) -> String {
        let mut changed = self.clone();
        for _ in 0..=random.below(4) / 3 {
            changed.change(others, random);
        }
        let text = changed.write();
        match random.below(40) {
            0 => format!("{text} "),
            1 => format!("{text}{text}"),
            2 => format!("\u{feff}{text}"),
            3 => format!("{text}\0"),
            4 => format!("[{text}]"),
            5 => text.replace(',', " ,\r\n\t"),
            6 => text.replacen(',', ",/**/", 1),
            7 => text.replace('s', "\\u0073"),
            _ => text,
        }
    }

    fn change(&mut self, others: &[&Self], random: &mut Random) {
        let mut paths = Vec::new();
        self.paths(&mut Vec::new(), &mut paths);
        let path = random.pick(&paths);
        let anywhere = random.pick(&paths);
        let elsewhere = match others {
            [] => self.at(&anywhere).cloned(),
            others => random.pick(others).at(&path).cloned(),
        };
        let Some((last, above)) = path.split_last() else { return };
        let kind = random.below(10);
        let Some(parent) = self.at_mut(above) else { return };
        match (kind, parent, last) {
            (0, Self::Object(members), Step::Name(at)) => drop(members.remove(*at)),
            (0, Self::List(items), Step::Index(at)) => drop(items.remove(*at)),
            (1, Self::Object(members), Step::Name(at)) => {
                let mut twin = members[*at].clone();
                if random.once_in(2) {
                    twin.1 = elsewhere.unwrap_or(Self::Raw("null".to_owned()));
                }
                let to = random.below(members.len() + 1);
                members.insert(to, twin);
            }
            (1, Self::List(items), Step::Index(at)) => {
                let twin = items[*at].clone();
                let to = random.below(items.len() + 1);
                items.insert(to, twin);
            }
            (2, Self::Object(members), Step::Name(at)) => {
                let mut twin = members[*at].clone();
                twin.0 = respelt(&twin.0, random);
                if random.once_in(2) { members.push(twin) } else { members[*at] = twin }
            }
            (3, Self::Object(members), Step::Name(at)) => {
                let to = random.below(members.len());
                members.swap(*at, to);
            }
            (3, Self::List(items), Step::Index(at)) => {
                let to = random.below(items.len());
                items.swap(*at, to);
            }
            (4 | 5, ..) => {
                if let (Some(value), Some(other)) = (self.at_mut(&path), elsewhere) {
                    *value = other;
                }
            }
            _ => {
                if let Some(value) = self.at_mut(&path) {
                    value.change_value(random);
                }
            }
        }
    }

    fn change_value(&mut self, random: &mut Random) {
        const OTHERS: [&str; 10] =
            ["null", "true", "0", "-1", "1.0", "9223372036854775808", "\"\"", "[]", "{}", "[null]"];
        if random.once_in(4) {
            *self = Self::Raw(random.pick(&OTHERS).to_owned());
            return;
        }
        *self = match self {
            Self::Text(text) => Self::Text(changed_text(text, random)),
            Self::Raw(text) => match random.below(8) {
                0 => Self::Raw(format!("{text}.0")),
                1 => Self::Raw(format!("{text}e0")),
                2 => Self::Raw(format!("-{text}")),
                3 => Self::Raw(format!("0{text}")),
                4 => Self::Raw(format!("{text}0e-1")),
                5 => Self::Text(text.clone()),
                _ => Self::Raw(text.parse::<i64>().map_or(text.clone(), |number| (number ^ 1).to_string())),
            },
            Self::List(items) => match items.first().cloned() {
                Some(first) if random.once_in(2) => first,
                Some(first) => Self::List([items.clone(), vec![first]].concat()),
                None => Self::List(vec![Self::Raw("null".to_owned())]),
            },
            Self::Object(members) => {
                let name = random.pick(&["", "a", "alg", "x5c", "critical"]).to_owned();
                Self::Object([members.clone(), vec![(name, Self::Text("a".to_owned()))]].concat())
            }
        };
    }

    fn paths(&self, here: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
        all.push(here.clone());
        let inner: Vec<(Step, &Self)> = match self {
            Self::List(items) => items.iter().enumerate().map(|(at, item)| (Step::Index(at), item)).collect(),
            Self::Object(members) => {
                members.iter().enumerate().map(|(at, (_, value))| (Step::Name(at), value)).collect()
            }
            _ => Vec::new(),
        };
        for (step, value) in inner {
            here.push(step);
            value.paths(here, all);
            here.pop();
        }
    }

    fn at(&self, path: &[Step]) -> Option<&Self> {
        path.iter().try_fold(self, |json, step| match (json, step) {
            (Self::List(items), Step::Index(at)) => items.get(*at),
            (Self::Object(members), Step::Name(at)) => members.get(*at).map(|(_, value)| value),
            _ => None,
        })
    }

    fn at_mut(&mut self, path: &[Step]) -> Option<&mut Self> {
        path.iter().try_fold(self, |json, step| match (json, step) {
            (Self::List(items), Step::Index(at)) => items.get_mut(*at),
            (Self::Object(members), Step::Name(at)) => members.get_mut(*at).map(|(_, value)| value),
            _ => None,
        })
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Another spelling of a name, which some readers take for the same.
fn respelt(name: &str, random: &mut Random) -> String {
    match random.below(6) {
        0 => name.to_uppercase(),
        1 => name.replace('s', "\u{17f}").replace('k', "\u{212a}"),
        2 => format!("{name} "),
        3 => format!("{name}\0"),
        _ => {
            let mut chars: Vec<char> = name.chars().collect();
            if !chars.is_empty() {
                let at = random.below(chars.len());
                let c = chars[at];
                chars[at] = if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            }
            chars.into_iter().collect()
        }
    }
}

fn changed_text(text: &str, random: &mut Random) -> String {
    if let Some(times) = changed_time(text, random) {
        return times;
    }
    if let Ok(number) = text.parse::<i64>() {
        return match random.below(6) {
            0 => format!(" {number}"),
            1 => format!("+{number}"),
            2 => format!("0{number}"),
            3 => number.wrapping_neg().to_string(),
            _ => number.wrapping_add(random.pick(&[1, -1, 1000, 1 << 32])).to_string(),
        };
    }
    if text.len() > 20 && random.once_in(2) {
        if let Ok(bytes) = STANDARD.decode(text) {
            return respelt_base64(STANDARD.encode(bytes::changed(&bytes, random)), random);
        }
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) {
            return respelt_base64(URL_SAFE_NO_PAD.encode(bytes::changed(&bytes, random)), random);
        }
    }
    match random.below(9) {
        0 => text.to_uppercase(),
        1 => format!("{text}\n"),
        2 => format!(" {text}"),
        3 => respelt(text, random),
        4 => respelt_base64(text.to_owned(), random),
        5 => String::new(),
        _ => {
            let mut chars: Vec<char> = text.chars().collect();
            if !chars.is_empty() {
                let at = random.below(chars.len());
                match random.below(3) {
                    0 => drop(chars.remove(at)),
                    1 => chars.insert(at, chars[at]),
                    _ => chars[at] = random.pick(&['a', 'A', '0', '*', '\0', '\u{e9}']),
                }
            }
            chars.into_iter().collect()
        }
    }
}

/// The same in base64, or nearly.
fn respelt_base64(text: String, random: &mut Random) -> String {
    match random.below(10) {
        0 => format!("{text}="),
        1 => text.trim_end_matches('=').to_owned(),
        2 => text.replace('+', "-").replace('/', "_"),
        3 => text.replace('-', "+").replace('_', "/"),
        4 => format!("{text}\r\n"),
        5 => {
            let (first, second) = text.split_at(text.len() / 8 * 4);
            format!("{first}\n{second}")
        }
        _ => text,
    }
}

/// Another way to write a time in RFC 3339, or nearly. `None` if it is no time.
fn changed_time(text: &str, random: &mut Random) -> Option<String> {
    text.parse::<jiff::Timestamp>().ok()?;
    let plain = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = plain.split_once('T')?;
    Some(match random.below(16) {
        0 => format!("{date}t{time}Z"),
        1 => format!("{date}T{time}z"),
        2 => format!("{date} {time}Z"),
        3 => format!("{date}T{time}.5Z"),
        4 => format!("{date}T{time},5Z"),
        5 => format!("{date}T{time}+00:00"),
        6 => format!("{date}T{time}+23:59"),
        7 => format!("{date}T{time}-24:00"),
        8 => format!("{date}T{time}+01:60"),
        9 => format!("{date}T24:00:00Z"),
        10 => format!("{date}T23:59:60Z"),
        11 => format!("2026-02-30T{time}Z"),
        12 => format!("0000-01-01T{time}Z"),
        13 => format!("{date}T{time}.1234567891Z"),
        14 => format!("{date}T{time}"),
        _ => {
            format!("{}T{time}Z", random.pick(&["1969-12-31", "2020-01-01", "2027-01-01", "2039-12-31", "9999-12-31"]))
        }
    })
}
