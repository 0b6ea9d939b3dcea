//! Changes of CBOR.

use portreeve_test_support::notation::Cbor;

use crate::bytes;
use crate::random::Random;

/// With one or two changes, as bytes.
pub fn changed(cbor: &Cbor, random: &mut Random) -> Vec<u8> {
    let mut changed = cbor.clone();
    for _ in 0..=random.below(4) / 3 {
        let place = random.below(count(&changed));
        change_at(&mut changed, &mut { place }, random);
    }
    let mut bytes = changed.encode();
    if random.once_in(40) {
        bytes.push(0);
    }
    bytes
}

/// The values in it, with labels.
fn count(cbor: &Cbor) -> usize {
    1 + match cbor {
        Cbor::Array(items) => items.iter().map(count).sum(),
        Cbor::Map(entries) => entries.iter().map(|(label, value)| count(label) + count(value)).sum(),
        Cbor::Tag(_, value) => count(value),
        _ => 0,
    }
}

/// Changes the value with this number. Returns whether it was found.
fn change_at(cbor: &mut Cbor, place: &mut usize, random: &mut Random) -> bool {
    if *place == 0 {
        change(cbor, random);
        return true;
    }
    *place -= 1;
    match cbor {
        Cbor::Array(items) => items.iter_mut().any(|item| change_at(item, place, random)),
        Cbor::Map(entries) => {
            entries.iter_mut().any(|(label, value)| change_at(label, place, random) || change_at(value, place, random))
        }
        Cbor::Tag(_, value) => change_at(value, place, random),
        _ => false,
    }
}

fn change(cbor: &mut Cbor, random: &mut Random) {
    match random.below(10) {
        0 => *cbor = Cbor::Tag(random.pick(&[0, 1, 2, 18, 24, 55799]), Box::new(cbor.clone())),
        1 => {
            // null, undefined, false, a break, two floats, and a simple value.
            let others: [&[u8]; 9] = [
                &[0xf6],
                &[0xf7],
                &[0xf4],
                &[0xff],
                &[0xf9, 0x3c, 0],
                &[0xfb, 0x41, 0xda, 0x6a, 0xc6, 0xf0, 0, 0, 0],
                &[0xf8, 0x20],
                &[0xa0],
                &[0x80],
            ];
            *cbor = Cbor::Raw(random.pick(&others).to_vec());
        }
        2 => *cbor = Cbor::Raw(longer(&cbor.encode())),
        3 => *cbor = Cbor::Raw(indefinite(cbor)),
        _ => {
            *cbor = match cbor {
                Cbor::Integer(number) => match random.below(5) {
                    0 => Cbor::Integer(-1 - *number),
                    1 => Cbor::Text(number.to_string()),
                    // The same number as a bignum.
                    2 => Cbor::Tag(2, Box::new(Cbor::Bytes(number.to_be_bytes().to_vec()))),
                    3 => Cbor::Raw(vec![0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0]),
                    _ => Cbor::Integer(*number ^ 1 << random.below(34)),
                },
                Cbor::Text(text) => match random.below(6) {
                    0 => Cbor::Bytes(text.clone().into_bytes()),
                    1 => Cbor::Text(text.to_uppercase()),
                    2 => Cbor::Text(format!("{text}\0")),
                    3 => Cbor::Raw([&[0x61], &[0xff][..]].concat()),
                    _ => {
                        let bytes = bytes::changed(text.as_bytes(), random);
                        Cbor::Text(String::from_utf8_lossy(&bytes).into_owned())
                    }
                },
                Cbor::Bytes(content) => match random.below(6) {
                    0 => Cbor::Text(String::from_utf8_lossy(content).into_owned()),
                    1 => Cbor::Array(vec![Cbor::Bytes(content.clone())]),
                    2 => Cbor::Bytes(Vec::new()),
                    _ => Cbor::Bytes(bytes::changed(content, random)),
                },
                Cbor::Array(items) => {
                    let mut items = items.clone();
                    let (from, to) = (random.below(items.len()), random.below(items.len()));
                    match random.below(5) {
                        _ if items.is_empty() => items.push(Cbor::Integer(0)),
                        0 => drop(items.remove(from)),
                        1 => items.insert(to, items[from].clone()),
                        2 => items.swap(from, to),
                        3 if items.len() == 1 => return *cbor = items.remove(0),
                        _ => items.push(Cbor::Raw(vec![0xf6])),
                    }
                    Cbor::Array(items)
                }
                Cbor::Map(entries) => {
                    let mut entries = entries.clone();
                    let (from, to) = (random.below(entries.len()), random.below(entries.len()));
                    match random.below(6) {
                        _ if entries.is_empty() => entries.push((Cbor::Integer(1), Cbor::Integer(0))),
                        0 => drop(entries.remove(from)),
                        1 => entries.push(entries[from].clone()),
                        2 => entries.swap(from, to),
                        3 => entries[to].1 = entries[from].1.clone(),
                        4 => entries.push((entries[from].0.clone(), entries[to].1.clone())),
                        _ => entries.push((Cbor::text("unknown"), Cbor::Integer(0))),
                    }
                    Cbor::Map(entries)
                }
                Cbor::Tag(tag, value) => match random.below(3) {
                    0 => (**value).clone(),
                    1 => Cbor::Tag(*tag ^ 1, value.clone()),
                    _ => Cbor::Tag(*tag, Box::new(Cbor::Tag(*tag, value.clone()))),
                },
                Cbor::Raw(bytes) => Cbor::Raw(bytes.clone()),
            }
        }
    }
}

/// The same value with a head that is longer than it need be.
fn longer(bytes: &[u8]) -> Vec<u8> {
    let Some((first, rest)) = bytes.split_first() else { return Vec::new() };
    let major = first & 0xe0;
    match first & 0x1f {
        number @ 0..24 if major != 0xe0 => [&[major | 24, number], rest].concat(),
        24 => [&[major | 25, 0], rest].concat(),
        25 => [&[major | 26, 0, 0], rest].concat(),
        26 => [&[major | 27, 0, 0, 0, 0], rest].concat(),
        _ => bytes.to_vec(),
    }
}

/// The same value with an indefinite length.
fn indefinite(cbor: &Cbor) -> Vec<u8> {
    let inner = match cbor {
        Cbor::Bytes(_) => vec![vec![0x5f], cbor.encode()],
        Cbor::Text(_) => vec![vec![0x7f], cbor.encode()],
        Cbor::Array(items) => vec![vec![0x9f], items.iter().flat_map(Cbor::encode).collect()],
        Cbor::Map(entries) => {
            vec![
                vec![0xbf],
                entries.iter().flat_map(|(label, value)| [label.encode(), value.encode()].concat()).collect(),
            ]
        }
        other => return other.encode(),
    };
    [inner.concat(), vec![0xff]].concat()
}
