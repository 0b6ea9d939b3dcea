//! `Link` (RFC 8288), as far as a list of referrers uses it: the address of its next page.

/// Longest field that is read.
const MAX_FIELD: usize = 4 << 10;

/// The address with the relation `next` among these fields. An error: a field cannot be read to its end, or there are two.
pub(super) fn next<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Option<&'a str>, ()> {
    let mut next = None;
    for field in fields {
        if field.len() > MAX_FIELD {
            return Err(());
        }
        let mut rest = skip(field);
        while !rest.is_empty() {
            let (address, after) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or(())?;
            let (is_next, after) = parameters(after)?;
            if is_next && next.replace(address).is_some() {
                return Err(());
            }
            rest = skip(after);
        }
    }
    Ok(next)
}

/// Reads `*( ";" name [ "=" value ] )` up to the next link, and says whether `rel` has the word `next`.
fn parameters(text: &str) -> Result<(bool, &str), ()> {
    let mut rest = text.trim_start();
    let mut is_next = false;
    while let Some(after) = rest.strip_prefix(';') {
        let end = after.find(['=', ';', ',', '"']).unwrap_or(after.len());
        let (name, after) = after.split_at_checked(end).ok_or(())?;
        let Some(after) = after.strip_prefix('=') else {
            rest = after;
            continue;
        };
        let value;
        (value, rest) = match after.trim_start().strip_prefix('"') {
            // No relation has a quoted pair in it.
            Some(quoted) => quoted.split_once('"').filter(|(value, _)| !value.contains('\\')).ok_or(())?,
            None => after.split_at_checked(after.find([';', ',', '"']).unwrap_or(after.len())).ok_or(())?,
        };
        rest = rest.trim_start();
        if name.trim().eq_ignore_ascii_case("rel") {
            is_next |= value.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("next"));
        }
    }
    if rest.is_empty() || rest.starts_with(',') { Ok((is_next, rest)) } else { Err(()) }
}

fn skip(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', ','])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_page_and_nothing_else() {
        type Row = (&'static [&'static str], Result<Option<&'static str>, ()>);
        let table: [Row; 20] = [
            (&[], Ok(None)),
            (&["", " , "], Ok(None)),
            (&["</v2/x/referrers/y?n=1>; rel=\"next\""], Ok(Some("/v2/x/referrers/y?n=1"))),
            (&["</a>;rel=next"], Ok(Some("/a"))),
            (&["</a> ; REL = \"prev NEXT\" ; title=\"a,b;c\""], Ok(Some("/a"))),
            (&["</a>; rel=prev, </b>; rel=\"next\", </c>; rel=last"], Ok(Some("/b"))),
            (&["</a>; rel=prev", "</b,c;d>; x; rel=next"], Ok(Some("/b,c;d"))),
            (&["</a>; rel=\"nextone\""], Ok(None)),
            (&["</a>"], Ok(None)),
            (&["</a>; title=\"rel=next\""], Ok(None)),
            (&["</a>; rel=next, </b>; rel=next"], Err(())),
            (&["</a>; rel=next", "</b>; rel=next"], Err(())),
            (&["/a; rel=next"], Err(())),
            (&["</a; rel=next"], Err(())),
            (&["</a>; rel=\"next"], Err(())),
            (&["</a> rel=next"], Err(())),
            (&["</a>; rel=\"next\" x"], Err(())),
            (&["</a>; rel=\"ne\\xt\""], Err(())),
            (&["\u{0}"], Err(())),
            (&["</a>; rel=n\"ext\""], Err(())),
        ];
        for (fields, expected) in table {
            assert_eq!(next(fields.iter().copied()), expected, "{fields:?}");
        }
        let long = format!("</{}>; rel=next", "a".repeat(MAX_FIELD));
        assert_eq!(next([long.as_str()].into_iter()), Err(()));
    }

    /// Every string of a few awkward pieces, so that no order of them makes the parser panic or spin.
    #[test]
    fn nothing_makes_it_panic() {
        const PIECES: [&str; 10] = ["<", ">", ";", ",", "=", "\"", "rel", "next", " ", "ä"];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            texts = texts.iter().flat_map(|text| PIECES.iter().map(move |piece| format!("{text}{piece}"))).collect();
            for text in &texts {
                let _ = next([text.as_str()].into_iter());
            }
        }
    }
}
