//! RESP as far as the hot path speaks it: requests are written into a `Vec<u8>` that is kept, integers are read where
//! they stand, and of anything else only its extent is found.
//!
//! A server may lie. Whatever it sends, no frame is nested deeper than [`DEEPEST`] nor longer than [`LONGEST`]; nothing
//! here calls itself; and a frame that arrives byte by byte is not scanned anew for every byte ([`Scanner`] goes on
//! where it stopped). Both versions of the protocol are read, whichever was agreed on.

/// How deep aggregates may stand in each other. What we ask for is answered by a number; the reply to `HELLO` is three
/// deep, an invalidation two.
pub(super) const DEEPEST: usize = 8;

/// The longest frame, bytes: what a connection's buffer may grow to. An invalidation is as long as its key, and some
/// servers may list several.
pub(super) const LONGEST: usize = 1024 * 1024;

/// The longest line, bytes, and so the longest error and the longest number. One that has not ended by then is none.
const LONGEST_LINE: usize = 16 * 1024;

/// Not RESP, or not within bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed(pub(super) &'static str);

// === requests ===

/// Appends one command.
pub(super) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    header(out, words.len());
    for word in words {
        argument(out, word);
    }
}

/// Appends the beginning of a command of so many words.
pub(super) fn header(out: &mut Vec<u8>, words: usize) {
    out.push(b'*');
    decimal(out, words as u64);
    out.extend_from_slice(b"\r\n");
}

/// Appends one word of a command.
pub(super) fn argument(out: &mut Vec<u8>, word: &[u8]) {
    out.push(b'$');
    decimal(out, word.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// Bytes that [`argument`] takes at most for a word of this length.
pub(super) const fn length_of_argument(word: usize) -> usize {
    // Lengths have up to seven digits within [`LONGEST`].
    word + 12
}

fn decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut rest = value;
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits.iter().skip(digits.len() - length));
}

/// Writes `value` over all of `place`, right-aligned, with zeros before it. Digits that find no room are lost.
pub(super) fn overwrite(place: &mut [u8], value: u64) {
    let mut rest = value;
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
}

// === replies ===

/// The integer that `bytes` begin with, and what comes after it. `None`: something else does, or not all of it is there
/// yet, or it is negative; [`Scanner`] knows.
#[inline]
pub(super) fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (b':', digits) = bytes.split_first()? else { return None };
    let mut rest = digits;
    let mut value = 0_u64;
    while let Some((byte, after)) = rest.split_first() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        rest = after;
    }
    // Eighteen digits always fit; no queue is longer.
    let count = digits.len() - rest.len();
    match rest {
        [b'\r', b'\n', after @ ..] if (1..=18).contains(&count) => Some((value, after)),
        _ => None,
    }
}

/// Any integer frame, negative ones included.
pub(super) fn any_integer(frame: &[u8]) -> Option<i64> {
    let digits = frame.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Finds where a frame ends, however its bytes arrive.
#[derive(Default, Debug)]
pub(super) struct Scanner {
    /// So much of the frame has been seen: whole elements.
    at: usize,
    /// Elements to come of the aggregates that are open, the innermost last.
    open: [u32; DEEPEST],
    depth: usize,
}

/// The first line of an element.
struct Head {
    kind: u8,
    /// Its number, where it has to have one.
    number: i64,
    /// Bytes of the line, its end included.
    length: usize,
}

impl Scanner {
    /// The length of the frame that `bytes` begin with; `None` while it is not all there. After `None` it is called
    /// again with the same bytes and more after them; after a length, with what follows the frame.
    ///
    /// # Errors
    /// No frame begins so.
    pub(super) fn frame(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(head) = head(rest)? else { return self.unfinished(bytes) };
            let mut length = head.length;
            let mut children = 0;
            match head.kind {
                b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {}
                b'$' | b'=' | b'!' => {
                    if let Some(text) = bounded(head.number, LONGEST)? {
                        length += text + 2;
                        if rest.len() < length {
                            return self.unfinished(bytes);
                        }
                        if !rest.get(..length).is_some_and(|element| element.ends_with(b"\r\n")) {
                            return Err(Malformed("a text is longer than it says"));
                        }
                    }
                }
                // The shortest element, `_`, is three bytes.
                b'*' | b'~' | b'>' => children = bounded(head.number, LONGEST / 3)?.unwrap_or(0),
                b'%' | b'|' => children = 2 * bounded(head.number, LONGEST / 6)?.unwrap_or(0),
                _ => return Err(Malformed("a reply begins with a letter that no reply begins with")),
            }
            self.at += length;
            // An attribute is told before the element that it belongs to, and is none itself.
            if head.kind != b'|'
                && let Some(left) = self.depth.checked_sub(1).and_then(|top| self.open.get_mut(top))
            {
                *left -= 1;
            }
            if children > 0 {
                let Some(place) = self.open.get_mut(self.depth) else {
                    return Err(Malformed("a reply is nested too deep"));
                };
                *place = u32::try_from(children).unwrap_or(u32::MAX);
                self.depth += 1;
            }
            while self.depth.checked_sub(1).and_then(|top| self.open.get(top)) == Some(&0) {
                self.depth -= 1;
            }
            if self.at > LONGEST {
                return Err(Malformed("a reply is too long"));
            }
            if self.depth == 0 {
                return Ok(Some(std::mem::take(&mut self.at)));
            }
        }
    }

    fn unfinished(&self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        if bytes.len() > LONGEST { Err(Malformed("a reply is too long")) } else { Ok(None) }
    }
}

/// The first line of `bytes`; `None` while it has not ended.
fn head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some(kind) = bytes.first().copied() else { return Ok(None) };
    let Some(end) = bytes.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') else {
        let endless = bytes.len() >= LONGEST_LINE;
        return if endless { Err(Malformed("a line does not end")) } else { Ok(None) };
    };
    let Some(text) = bytes.get(1..end).and_then(|line| line.strip_suffix(b"\r")) else {
        return Err(Malformed("a line does not end as lines do"));
    };
    let counts = matches!(kind, b':' | b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|');
    let number = if counts { number(text).ok_or(Malformed("a number is none"))? } else { 0 };
    Ok(Some(Head { kind, number, length: end + 1 }))
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A length, unless it stands for nothing.
fn bounded(number: i64, most: usize) -> Result<Option<usize>, Malformed> {
    match usize::try_from(number) {
        Ok(length) if length <= most => Ok(Some(length)),
        Ok(_) => Err(Malformed("a reply is too long")),
        Err(_) if number == -1 => Ok(None),
        Err(_) => Err(Malformed("a length is negative")),
    }
}

// === pushes ===

/// What a push says.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Push {
    /// These keys have changed (each was handed to `each`).
    Keys,
    /// Any key may have changed.
    Everything,
    /// It is about something else.
    Other,
}

/// Reads a whole push frame; `each` is given the keys that it invalidates.
pub(super) fn push(frame: &[u8], mut each: impl FnMut(&[u8])) -> Push {
    let mut rest = frame;
    // `>2`, `invalidate`, and either an array of keys or nothing.
    if next(&mut rest).is_none() || next(&mut rest) != Some(Word::Text(b"invalidate")) {
        return Push::Other;
    }
    let Some(Word::Many(keys)) = next(&mut rest) else { return Push::Everything };
    for _ in 0..keys {
        match next(&mut rest) {
            Some(Word::Text(key)) => each(key),
            // What else could stand there is no key of ours; better to ask all than to miss one.
            _ => return Push::Everything,
        }
    }
    Push::Keys
}

#[derive(PartialEq, Eq, Debug)]
enum Word<'a> {
    Many(usize),
    Text(&'a [u8]),
    Nothing,
}

fn next<'a>(bytes: &mut &'a [u8]) -> Option<Word<'a>> {
    let head = head(bytes).ok()??;
    let line = bytes.get(1..head.length)?.strip_suffix(b"\r\n")?;
    let after = bytes.get(head.length..)?;
    let (word, after) = match (head.kind, usize::try_from(head.number)) {
        (b'*' | b'~' | b'>', Ok(count)) => (Word::Many(count), after),
        (b'$', Ok(length)) => (Word::Text(after.get(..length)?), after.get(length + 2..)?),
        (b'+', _) => (Word::Text(line), after),
        _ => (Word::Nothing, after),
    };
    *bytes = after;
    Some(word)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may break")]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        Scanner::default().frame(bytes)
    }

    const FRAMES: [&[u8]; 17] = [
        b":0\r\n",
        b":-12\r\n",
        b"+OK\r\n",
        b"-WRONGTYPE Operation against a key\r\n",
        b"_\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"$0\r\n\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"#t\r\n",
        b",1.5\r\n",
        b"(12345678901234567890\r\n",
        b"%2\r\n+a\r\n*2\r\n:1\r\n:2\r\n+b\r\n~1\r\n_\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*2\r\n$4\r\njobs\r\n$3\r\na\r\n\r\n",
        b"*1\r\n|1\r\n+ttl\r\n:9\r\n*1\r\n*1\r\n:1\r\n",
    ];

    #[test]
    fn commands_are_written_as_arrays_of_texts() {
        let mut out = Vec::new();
        command(&mut out, &[b"LLEN", b"a key of 27 bytes, binary\xff\0"]);
        assert_eq!(out, b"*2\r\n$4\r\nLLEN\r\n$27\r\na key of 27 bytes, binary\xff\0\r\n");
        for value in [0, 9, 10, 1_234_567_890_123_456_789, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn digits_are_written_in_place() {
        let mut place = *b"........";
        overwrite(&mut place[1..7], 1_234);
        assert_eq!(&place, b".001234.");
        overwrite(&mut place[1..4], 98_765);
        assert_eq!(&place, b".765234.");
    }

    #[test]
    fn integers_are_read_where_they_stand() {
        assert_eq!(integer(b":0\r\n:1\r\n"), Some((0, b":1\r\n".as_slice())));
        assert_eq!(integer(b":123456789012345678\r\n"), Some((123_456_789_012_345_678, b"".as_slice())));
        for other in [
            b":".as_slice(),
            b"",
            b":1",
            b":1\r",
            b":\r\n",
            b":-1\r\n",
            b":1234567890123456789\r\n",
            b"+1\r\n",
            b":1\n",
        ] {
            assert_eq!(integer(other), None, "{other:?}");
        }
        assert_eq!(any_integer(b":-1\r\n"), Some(-1));
        assert_eq!(any_integer(b":9223372036854775807\r\n"), Some(i64::MAX));
        assert_eq!(any_integer(b":99999999999999999999\r\n"), None);
    }

    #[test]
    fn every_frame_is_found_however_it_is_cut() {
        for frame in FRAMES {
            for follower in FRAMES {
                let both = [frame, follower].concat();
                assert_eq!(whole(&both), Ok(Some(frame.len())), "{:?}", frame.escape_ascii().to_string());
            }
            for cut in 0..frame.len() {
                let mut scanner = Scanner::default();
                assert_eq!(
                    scanner.frame(&frame[..cut]),
                    Ok(None),
                    "{:?} cut at {cut}",
                    frame.escape_ascii().to_string()
                );
                assert_eq!(scanner.frame(frame), Ok(Some(frame.len())));
            }
            let mut scanner = Scanner::default();
            for end in 1..frame.len() {
                assert_eq!(scanner.frame(&frame[..end]), Ok(None));
            }
            assert_eq!(scanner.frame(frame), Ok(Some(frame.len())));
            // It is as new after a frame.
            assert_eq!(scanner.frame(frame), Ok(Some(frame.len())));
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let deep = b"*1\r\n".repeat(DEEPEST + 1);
        let endless = [b"+".as_slice(), &b"x".repeat(LONGEST_LINE)].concat();
        let cases: [&[u8]; 14] = [
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\x15\x03\x01\0\x02\x02\n",
            b":one\r\n",
            b":\r\n",
            b"*-2\r\n",
            b"$-2\r\n",
            b"$9999999999\r\n",
            b"*999999999\r\n",
            b"%999999999\r\n",
            b"*99999999999999999999\r\n",
            b"$3\r\nabcd\r\n",
            b"+a\n",
            &deep,
            &endless,
        ];
        for bytes in cases {
            assert!(whole(bytes).is_err(), "{:?}", bytes.escape_ascii().to_string());
        }
        let as_deep_as_may_be = [b"*1\r\n".repeat(DEEPEST), b":1\r\n".to_vec()].concat();
        assert_eq!(whole(&as_deep_as_may_be), Ok(Some(as_deep_as_may_be.len())));
    }

    #[test]
    fn a_frame_that_never_ends_is_given_up_within_its_bound() {
        let element = [b"$1000\r\n".as_slice(), &b"x".repeat(1000), b"\r\n"].concat();
        let mut scanner = Scanner::default();
        let mut bytes = b"*300000\r\n".to_vec();
        let refused = loop {
            bytes.extend_from_slice(&element);
            match scanner.frame(&bytes) {
                Ok(None) => assert!(bytes.len() <= LONGEST + element.len()),
                other => break other,
            }
        };
        assert_eq!(refused, Err(Malformed("a reply is too long")));
    }

    #[test]
    fn pushes_say_which_keys_have_changed() {
        let read = |frame: &[u8]| {
            let mut keys = Vec::new();
            let push = push(frame, |key| keys.push(String::from_utf8(key.to_vec()).unwrap()));
            (push, keys)
        };
        let none = Vec::<String>::new;
        assert_eq!(
            read(b">2\r\n$10\r\ninvalidate\r\n*2\r\n$4\r\njobs\r\n$3\r\na\r\n\r\n"),
            (Push::Keys, vec!["jobs".to_owned(), "a\r\n".to_owned()])
        );
        assert_eq!(read(b">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n"), (Push::Keys, vec!["a".to_owned()]));
        assert_eq!(read(b">2\r\n$10\r\ninvalidate\r\n_\r\n"), (Push::Everything, none()));
        assert_eq!(read(b">2\r\n$10\r\ninvalidate\r\n*-1\r\n"), (Push::Everything, none()));
        assert_eq!(read(b">2\r\n$10\r\ninvalidate\r\n*1\r\n:1\r\n"), (Push::Everything, none()));
        assert_eq!(read(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"), (Push::Other, none()));
        assert_eq!(read(b">0\r\n"), (Push::Other, none()));
    }
}
