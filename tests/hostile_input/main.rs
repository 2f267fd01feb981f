//! What strangers can send or leave behind: every fuzz target over its committed corpus and so many changes of it, and inputs of
//! twice the size. `make fuzz` looks further, guided by coverage.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../support/load/random.rs"]
mod random;
#[path = "../../fuzz/src/shapes.rs"]
#[allow(unreachable_pub)]
mod shapes;
#[path = "../../fuzz/src/targets.rs"]
#[allow(unreachable_pub)]
mod targets;

mod mutations;

use std::fs;
use std::path::Path;

use allocation_counter::AllocationInfo;

use mutations::Mutations;
use shapes::{SHAPES, Shape};
use targets::{TARGETS, Target};

/// Changed inputs of each target, and the largest of them, in bytes.
const MUTATIONS: usize = 1500;
const LARGEST: usize = 8 << 10;

/// What an input may take at most, in bytes, held at once and over all: so much, and so many times its own length.
const HELD: (u64, u64) = (1 << 20, 64);
/// The rules of the resources take some 130 KB of small pieces for each item of a list.
const TAKEN: (u64, u64) = (16 << 20, 4096);
/// What a small body may become once it is unpacked: the 16 MiB that one may have, in a buffer that grows.
const UNPACKED: u64 = 40 << 20;

fn measured(target: Target, input: &[u8]) -> AllocationInfo {
    allocation_counter::measure(|| target(input))
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{} holds {} files", folder.display(), files.len());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn no_input_of_the_corpora_nor_any_change_of_one_breaks_a_promise_or_takes_much_memory() {
    for (seed, (name, target)) in (1..).zip(TARGETS) {
        let corpus = corpus(name);
        let mut mutations = Mutations::new(seed, &corpus, LARGEST);
        let changed = std::iter::repeat_with(|| mutations.next()).take(MUTATIONS);
        // What is made once for all is not the first input's.
        for input in &corpus {
            target(input);
        }
        let unpacked = if name == "http_bodies" { UNPACKED } else { 0 };
        for (number, input) in corpus.iter().cloned().chain(changed).enumerate() {
            let length = input.len() as u64;
            let taken = measured(target, &input);
            let within = |bytes: u64, (base, each): (u64, u64)| bytes <= unpacked + base + each * length;
            assert!(
                within(taken.bytes_max, HELD) && within(taken.bytes_total, TAKEN),
                "{name}, input {number} of {length} bytes: {taken:?}: {:?}",
                String::from_utf8_lossy(&input[..input.len().min(500)])
            );
        }
    }
}

#[test]
fn an_input_of_twice_the_size_takes_no_more_than_twice_the_memory() {
    for Shape { name, target, make, size } in SHAPES {
        let (once, twice) = (make(size), make(2 * size));
        assert!(twice.len() > once.len() * 3 / 2, "{name}");
        target(&once);
        let [once, twice] = [once, twice].map(|input| measured(target, &input));
        // Buffers that double may be just under or just over.
        let at_most = |bytes: u64| bytes * 5 / 2 + (64 << 10);
        assert!(
            twice.bytes_total <= at_most(once.bytes_total) && twice.bytes_max <= at_most(once.bytes_max),
            "{name}: {once:?}, then {twice:?}"
        );
    }
}
