//! Writes CBOR, also such as no strict reader takes.

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cbor {
    Integer(i64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Cbor>),
    Map(Vec<(Cbor, Cbor)>),
    Tag(u64, Box<Cbor>),
    /// These bytes as they are.
    Raw(Vec<u8>),
}

impl Cbor {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A time in seconds since 1970.
    pub fn time(seconds: i64) -> Self {
        Self::Tag(1, Box::new(Self::Integer(seconds)))
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Integer(number @ 0..) => head(0, *number as u64),
            Self::Integer(number) => head(1, (-1 - *number) as u64),
            Self::Bytes(bytes) => [head(2, bytes.len() as u64), bytes.clone()].concat(),
            Self::Text(text) => [head(3, text.len() as u64), text.as_bytes().to_vec()].concat(),
            Self::Array(items) => {
                [vec![head(4, items.len() as u64)], items.iter().map(Self::encode).collect()].concat().concat()
            }
            Self::Map(entries) => {
                let entry = |(label, value): &(Self, Self)| [label.encode(), value.encode()].concat();
                [vec![head(5, entries.len() as u64)], entries.iter().map(entry).collect()].concat().concat()
            }
            Self::Tag(tag, value) => [head(6, *tag), value.encode()].concat(),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

fn head(major: u8, number: u64) -> Vec<u8> {
    let digits = number.to_be_bytes();
    match number {
        0..24 => vec![major << 5 | number as u8],
        24..0x100 => vec![major << 5 | 24, number as u8],
        0x100..0x1_0000 => [&[major << 5 | 25], &digits[6..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[major << 5 | 26], &digits[4..]].concat(),
        _ => [&[major << 5 | 27], &digits[..]].concat(),
    }
}
