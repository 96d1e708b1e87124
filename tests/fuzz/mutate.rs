//! Luck, and what it does to texts and bytes.

/// Characters that parsers, terminals and protocols have their own ideas about.
const STRANGE: [&str; 24] = [
    "\0",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{ad}",
    "\u{200b}",
    "\u{200f}",
    "\u{202e}",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{10ffff}",
    "é",
    "e\u{301}",
    "日本",
    "🚦",
    "\u{e000}",
];

/// Numbers at the ends of what types and formats can hold.
const NUMBERS: [&str; 40] = [
    "0",
    "-0",
    "1",
    "-1",
    "00",
    "007",
    "+5",
    "0.5",
    ".5",
    "5.",
    "1e3",
    "1E400",
    "-1e-400",
    "0x10",
    "0o17",
    "1_000",
    "127",
    "128",
    "255",
    "256",
    "32768",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775",
    "9223372036854776",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "170141183460469231731687303715884105728",
    "1e-9",
    "0.0000000001",
    "NaN",
    "inf",
];

/// xorshift64*, begun from a seed and a case, so that each case can be run alone.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64, case: u64) -> Self {
        // splitmix64: neighbouring cases must not look alike.
        let mut z = seed.wrapping_add(case.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Rng((z ^ (z >> 31)) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to `end` - 1; 0 if there is nothing to choose from.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() >> 11) as usize % end }
    }

    /// Once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A length: mostly small, now and then large, and rarely a megabyte.
    pub fn length(&mut self) -> usize {
        match self.below(4000) {
            0 => 1 << 20,
            1..=3 => 1 << 16,
            4..=39 => 1 + self.below(1 << 13),
            _ => 1 + self.below(40),
        }
    }
}

/// Words that go into texts: of the target's own, and everybody's.
pub struct Dictionary {
    pub words: Vec<String>,
}

impl Dictionary {
    /// `tokens`, and every word of `corpus`.
    pub fn of(tokens: &[&str], corpus: &[String]) -> Self {
        let mut words: Vec<String> = corpus
            .iter()
            .flat_map(|text| text.split(|c: char| c.is_whitespace() || "{}[],\"".contains(c)))
            .filter(|word| !word.is_empty() && word.len() < 40)
            .map(str::to_owned)
            .collect();
        words.sort();
        words.dedup();
        words.extend(tokens.iter().map(ToString::to_string));
        Dictionary { words }
    }

    pub fn word(&self, rng: &mut Rng) -> String {
        match rng.below(10) {
            0 => (*rng.pick(&STRANGE)).to_owned(),
            1 => (*rng.pick(&NUMBERS)).to_owned(),
            2 => {
                let unit =
                    if rng.once_in(4) { *rng.pick(&STRANGE) } else { *rng.pick(&["a", "9", "*", "-", ".", ","]) };
                unit.repeat(rng.length() / unit.len() + 1)
            }
            _ => rng.pick(&self.words).clone(),
        }
    }
}

/// Changes a text once. `other` is another one, to splice with.
pub fn text(rng: &mut Rng, text: &mut String, other: &str, dictionary: &Dictionary) {
    match rng.below(14) {
        0 => {
            let range = range(rng, text);
            text.replace_range(range, "");
        }
        1 => {
            let range = range(rng, text);
            let piece = text[range.clone()].to_owned();
            text.insert_str(range.end, &piece);
        }
        2 | 3 => {
            let at = place(rng, text);
            text.insert_str(at, &dictionary.word(rng));
        }
        4 => {
            let (at, from) = (place(rng, text), place(rng, other));
            text.truncate(at);
            text.push_str(&other[from..]);
        }
        5 => {
            let mut bytes = std::mem::take(text).into_bytes();
            self::bytes(rng, &mut bytes);
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
        6 | 7 => replace_run(rng, text, |c| c.is_ascii_digit(), |rng| (*rng.pick(&NUMBERS)).to_owned()),
        8 | 9 => replace_run(rng, text, |c| !c.is_whitespace() && !"{}[],:\"'".contains(c), |rng| dictionary.word(rng)),
        10 | 11 => lines(rng, text),
        12 => {
            let at = place(rng, text);
            let (open, close) =
                *rng.pick(&[("[", "]"), ("{a: ", "}"), ("- ", ""), ("{? ", "}"), ("\"", "\""), ("((", "))")]);
            let times = rng.length().min(20_000);
            let closed = if rng.once_in(2) { close.repeat(times) } else { String::new() };
            text.insert_str(at, &format!("{}{closed}", open.repeat(times)));
        }
        _ => {
            let at = place(rng, text);
            let strange = *rng.pick(&STRANGE);
            text.insert_str(at, strange);
        }
    }
    // Every operation may double; the inputs stay bounded.
    if text.len() > 3 << 20 {
        let end = (0..=1 << 20).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

/// Changes bytes once.
pub fn bytes(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = rng.below(bytes.len() + 1);
    let end = (at + 1 + rng.below(12)).min(bytes.len());
    match rng.below(7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
        1 if at < bytes.len() => bytes[at] = *rng.pick(&[0, 1, 0x7f, 0x80, 0xff, b'\n', b'{']),
        2 => drop(bytes.drain(at.min(end)..end)),
        3 => {
            let piece = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, piece);
        }
        4 => bytes.truncate(at),
        5 => {
            let new: Vec<u8> = (0..rng.below(9)).map(|_| rng.next().to_le_bytes()[3]).collect();
            bytes.splice(at..at, new);
        }
        _ => {
            for byte in bytes.iter_mut().skip(at).take(4) {
                *byte = byte.wrapping_add(rng.next().to_le_bytes()[5]);
            }
        }
    }
}

/// Lines deleted, doubled, swapped, indented.
fn lines(rng: &mut Rng, text: &mut String) {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let (one, two) = (rng.below(lines.len()), rng.below(lines.len()));
    let indented;
    match rng.below(5) {
        0 => drop(lines.remove(one)),
        1 => lines.insert(two, lines[one]),
        2 => lines.swap(one, two),
        3 => {
            indented = format!("{}{}", " ".repeat(1 + rng.below(4)), lines[one]);
            lines[one] = &indented;
        }
        _ => lines[one] = lines[one].trim_start(),
    }
    *text = lines.join("\n");
}

/// Replaces one run of characters that `belongs` by a new one.
fn replace_run(rng: &mut Rng, text: &mut String, belongs: impl Fn(char) -> bool, new: impl Fn(&mut Rng) -> String) {
    let start = place(rng, text);
    let Some(begin) = text[start..].find(&belongs).map(|at| start + at) else { return };
    let end = text[begin..].find(|c| !belongs(c)).map_or(text.len(), |length| begin + length);
    text.replace_range(begin..end, &new(rng));
}

fn place(rng: &mut Rng, text: &str) -> usize {
    let at = rng.below(text.len() + 1);
    (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

fn range(rng: &mut Rng, text: &str) -> std::ops::Range<usize> {
    let start = place(rng, text);
    let wanted = (start + 1 + rng.below(60)).min(text.len()).max(start);
    let end = (wanted..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    start..end
}
