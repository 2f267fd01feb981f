//! Effects: each fault is run, once or for its share of the time, and the run tells its table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::FAULTS;
use crate::scene::Run;
use crate::verdict::Tally;

const BEGIN: &str = "<!-- faults: begin -->";
const END: &str = "<!-- faults: end -->";

/// What the faults came to, by name.
static TALLIES: Mutex<BTreeMap<&str, Vec<Tally>>> = Mutex::new(BTreeMap::new());

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Runs a fault, and keeps what it comes to.
pub(crate) fn run(name: &'static str, fault: fn(Run) -> Tally) {
    let seed = number("SEED").unwrap_or(1);
    // Two run at a time.
    let share = number("FAULT_MINUTES").map(|minutes| Duration::from_mins(minutes) * 2 / FAULTS.len() as u32);
    let began = Instant::now();
    let mut tallies = Vec::new();
    for seed in seed.. {
        let run = Run { seed, long: share.is_some() };
        let tally = fault(run);
        println!("{name}, seed {seed}: {tally:?}");
        tallies.push(tally);
        if share.is_none_or(|share| began.elapsed() >= share) {
            break;
        }
    }
    let mut all = TALLIES.lock().unwrap();
    all.insert(name, tallies);
    if std::env::var_os("UPDATE_DOCS").is_some() && all.len() == FAULTS.len() {
        put_between_markers(&document(), &table(&all));
    }
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/delivery.md")
}

fn table(tallies: &BTreeMap<&str, Vec<Tally>>) -> String {
    let mut text = "| fault | runs | updates | a second | exports | lost | inverted | repeated | dead letters |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for name in FAULTS {
        let tallies = &tallies[name];
        let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
        let (runs, per_second) = (tallies.len() as u64, sum(|tally| tally.per_second));
        let figures = [
            runs,
            sum(|tally| tally.updates),
            per_second / runs,
            sum(|tally| tally.exports),
            sum(|tally| tally.lost),
            sum(|tally| tally.inverted),
            sum(|tally| tally.repeated),
            sum(|tally| tally.dead_letters),
        ];
        let figures = figures.map(|figure| figure.to_string()).join(" | ");
        writeln!(text, "| {name} | {figures} |").unwrap();
    }
    text
}

fn put_between_markers(path: &Path, text: &str) {
    let whole = std::fs::read_to_string(path).unwrap();
    let (before, _, after) = parted(&whole);
    std::fs::write(path, format!("{before}{BEGIN}\n\n{text}\n{END}{after}")).unwrap();
}

/// What stands before, between and behind the markers.
fn parted(whole: &str) -> (&str, &str, &str) {
    let (before, rest) = whole.split_once(BEGIN).unwrap_or_else(|| panic!("no {BEGIN}"));
    let (between, after) = rest.split_once(END).unwrap_or_else(|| panic!("no {END}"));
    (before, between, after)
}

#[test]
fn the_table_names_every_fault_and_no_other() {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        // This run writes it at its end.
        return;
    }
    let whole = std::fs::read_to_string(document()).unwrap();
    let (_, between, _) = parted(&whole);
    let named: Vec<&str> =
        between.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).skip(1).collect();
    let named: Vec<&str> = named.into_iter().filter(|name| !name.starts_with("---")).collect();
    assert_eq!(named, FAULTS, "docs/delivery.md is stale: make campaign, and commit it");
}
