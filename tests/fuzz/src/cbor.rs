//! The CBOR of COSE's headers, read slowly into a tree.

#[derive(Clone, Debug, PartialEq)]
pub enum Cbor {
    Integer(i128),
    Bytes(Vec<u8>),
    Text(String),
    List(Vec<Cbor>),
    Map(Vec<(Cbor, Cbor)>),
    Tag(u64, Box<Cbor>),
    Simple(u8),
}

/// `None` if it must be refused.
pub fn read(bytes: &[u8]) -> Option<Cbor> {
    let mut rest = bytes;
    let value = value(&mut rest, 0)?;
    rest.is_empty().then_some(value)
}

fn value(rest: &mut &[u8], depth: usize) -> Option<Cbor> {
    if depth > 8 {
        return None;
    }
    let first = byte(rest)?;
    let number = match first % 32 {
        small @ 0..=23 => u64::from(small),
        info @ 24..=27 => {
            let length = 1 << (info - 24);
            let mut number: u64 = 0;
            for _ in 0..length {
                number = number << 8 | u64::from(byte(rest)?);
            }
            // The shortest form.
            let least = [24, 0x100, 0x1_0000, 0x1_0000_0000][usize::from(info - 24)];
            (number >= least).then_some(number)?
        }
        _ => return None,
    };
    let bytes = |rest: &mut &[u8]| (0..number).map(|_| byte(rest)).collect::<Option<Vec<u8>>>();
    match first / 32 {
        0 => Some(Cbor::Integer(i128::from(number))),
        1 => Some(Cbor::Integer(-1 - i128::from(number))),
        2 => bytes(rest).map(Cbor::Bytes),
        3 => String::from_utf8(bytes(rest)?).ok().map(Cbor::Text),
        4 => {
            let mut items = Vec::new();
            for _ in 0..number {
                items.push(value(rest, depth + 1)?);
            }
            Some(Cbor::List(items))
        }
        5 => {
            let mut entries: Vec<(Cbor, Cbor)> = Vec::new();
            for _ in 0..number {
                let label = value(rest, 0)?;
                let is_label = match label {
                    Cbor::Integer(number) => i64::try_from(number).is_ok(),
                    Cbor::Text(_) => true,
                    _ => false,
                };
                if !is_label || entries.len() == 64 || entries.iter().any(|(known, _)| *known == label) {
                    return None;
                }
                entries.push((label, value(rest, depth + 1)?));
            }
            Some(Cbor::Map(entries))
        }
        6 => Some(Cbor::Tag(number, Box::new(value(rest, depth + 1)?))),
        _ => (first % 32 < 24 && (20..=22).contains(&number)).then_some(Cbor::Simple(first)),
    }
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, more) = rest.split_first()?;
    *rest = more;
    Some(*first)
}
