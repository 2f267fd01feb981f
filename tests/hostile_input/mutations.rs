//! Pure: changes of known inputs, by a seed.

use crate::random::Random;

/// What formats are made of, and where readers go wrong.
const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"1E-999",
    b"0.1",
    b"00",
    b"18446744073709551616",
    b"-1",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xc3\xbc",
    b"---\n",
    b"...\n",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!str ",
    b"!!binary ",
    b"? ",
    b"- ",
    b": ",
    b"|\n",
    b">-\n",
    b"#",
    b"%YAML 1.2\n",
    b"0x1F",
    b"~",
    b".inf",
    b".nan",
    b"yes",
    b"2026-01-02T03:04:05Z",
    b"9999-12-31T23:59:59.999999999Z",
    b"-009999-01-01T00:00:00Z",
    b"realized",
    b"exited",
    b"xdmEntity",
    b"identityMap",
    b"segmentMembership",
    b"header",
    b"profileId",
    b"mergePolicyId",
    b"body",
    b"1Ki",
    b"-1m",
    b"99999999999h",
    b"\x1f\x8b\x08",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x00\x00\xff\xff",
];

/// Never ends.
pub(crate) struct Mutations<'a> {
    random: Random,
    corpus: &'a [Vec<u8>],
    largest: usize,
}

impl<'a> Mutations<'a> {
    pub(crate) fn new(seed: u64, corpus: &'a [Vec<u8>], largest: usize) -> Self {
        Self { random: Random::new(seed), corpus, largest }
    }

    /// An input of the corpus, changed in one to eight places.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut input = self.any().to_vec();
        for _ in 0..=self.random.below(8) {
            self.change(&mut input);
        }
        input.truncate(self.largest);
        input
    }

    fn any(&mut self) -> &'a [u8] {
        &self.corpus[self.random.below(self.corpus.len() as u64) as usize]
    }

    fn up_to(&mut self, most: usize) -> usize {
        self.random.below(most as u64 + 1) as usize
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.up_to(input.len());
        let end = at + self.up_to((input.len() - at).min(64));
        match self.random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.random.below(8),
            1 if at < input.len() => input[at] = self.random.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => {
                let word = WORDS[self.random.below(WORDS.len() as u64) as usize];
                input.splice(at..at, word.iter().copied());
            }
            4 => {
                let word = WORDS[self.random.below(WORDS.len() as u64) as usize];
                input.splice(at..end, word.iter().copied());
            }
            5 => {
                let again = input[at..end].repeat(1 + self.up_to(30));
                input.splice(at..at, again);
            }
            6 => {
                let other = self.any();
                let from = self.up_to(other.len());
                let part = &other[from..from + self.up_to(other.len() - from)];
                input.splice(at..end, part.iter().copied());
            }
            _ => input.truncate(at),
        }
    }
}
