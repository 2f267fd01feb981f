//! Pure, but for the last function: figures as Markdown, with the marks that they are to meet.

use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// What was measured.
pub(crate) struct Report {
    machine: String,
    sections: Vec<Section>,
    marks: Vec<Mark>,
}

struct Section {
    title: &'static str,
    how: String,
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// A figure that is to be reached.
pub(crate) struct Mark {
    pub(crate) what: &'static str,
    pub(crate) wanted: String,
    pub(crate) found: String,
    pub(crate) met: bool,
}

impl Report {
    pub(crate) fn new(machine: String) -> Self {
        Self { machine, sections: Vec::new(), marks: Vec::new() }
    }

    pub(crate) fn section(
        &mut self,
        title: &'static str,
        how: String,
        header: Vec<&'static str>,
        rows: Vec<Vec<String>>,
    ) {
        let section = Section { title, how, header, rows };
        println!("{}", section.markdown());
        self.sections.push(section);
    }

    pub(crate) fn mark(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out =
            format!("`make bench` on {}.\n\n| mark | wanted | found | |\n| --- | --- | --- | --- |\n", self.machine);
        for Mark { what, wanted, found, met } in &self.marks {
            let verdict = if *met { "met" } else { "**missed**" };
            let _ = writeln!(out, "| {what} | {wanted} | {found} | {verdict} |");
        }
        for section in &self.sections {
            let _ = write!(out, "\n{}", section.markdown());
        }
        out
    }
}

impl Section {
    fn markdown(&self) -> String {
        let mut out = format!("### {}\n\n{}\n\n| {} |\n", self.title, self.how, self.header.join(" | "));
        let _ = writeln!(out, "|{}", " --- |".repeat(self.header.len()));
        for row in &self.rows {
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
        out
    }
}

/// The median of some figures, and how far they lie apart.
pub(crate) struct Spread {
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) };
        Self { median, least: figures[0], most: figures[figures.len() - 1] }
    }

    /// In whole numbers.
    pub(crate) fn rate(&self) -> String {
        format!("{} ({}–{})", thousands(self.median), thousands(self.least), thousands(self.most))
    }

    /// In percent.
    pub(crate) fn percent(&self) -> String {
        format!("{:.0} % ({:.0}–{:.0})", self.median * 100.0, self.least * 100.0, self.most * 100.0)
    }
}

pub(crate) fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn put_between_markers(path: &Path, text: &str) {
    let whole = std::fs::read_to_string(path).unwrap();
    let (before, rest) = whole.split_once(BEGIN).unwrap_or_else(|| panic!("{} has no {BEGIN}", path.display()));
    let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{} has no {END}", path.display()));
    std::fs::write(path, format!("{before}{BEGIN}\n\n{text}\n{END}{after}")).unwrap();
}
