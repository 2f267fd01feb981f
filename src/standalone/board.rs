//! Pure: the board that people watch, a line per activation; and the same as plain lines where nobody can redraw them.

use std::fmt::Write as _;

use crate::api::AudienceActivationStatus;
use crate::api::conditions::ConditionType;

/// How wide the bar of a backfill is, in characters.
const BAR: usize = 10;

/// One activation on the board.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// `namespace/name`.
    pub name: String,
    /// The status of `Ready`, with its reason where it is not `True`.
    pub ready: String,
    /// The reason of `Delivering`.
    pub delivering: String,
    /// How much of the history is exported, in percent; `None` where nothing is known.
    pub backfill: Option<u8>,
    /// Records that the stream acknowledged.
    pub exported: u64,
    /// Records that became dead letters.
    pub failed: u64,
    /// How far the dataflow is behind, in seconds.
    pub lag: Option<u64>,
    /// Records acknowledged per second.
    pub rate: f64,
}

impl Row {
    /// What a status says.
    pub fn of(name: String, status: &AudienceActivationStatus, rate: f64) -> Self {
        let condition = |wanted: ConditionType| status.conditions.iter().find(|found| found.type_ == wanted.as_str());
        let ready = condition(ConditionType::Ready).map_or_else(
            || "Unknown".to_owned(),
            |ready| {
                if ready.status == "True" { ready.status.clone() } else { format!("{} {}", ready.status, ready.reason) }
            },
        );
        let delivering = condition(ConditionType::Delivering).map(|found| found.reason.clone()).unwrap_or_default();
        let dataflow = status.dataflow.as_ref();
        Self {
            name,
            ready,
            delivering,
            backfill: status.backfill_percent,
            exported: dataflow.map_or(0, |dataflow| dataflow.exported),
            failed: dataflow.map_or(0, |dataflow| dataflow.failed),
            lag: dataflow.and_then(|dataflow| dataflow.lag_seconds),
            rate,
        }
    }

    /// The row as one plain line.
    pub fn line(&self) -> String {
        let mut line = format!("{} ready={}", self.name, self.ready.replace(' ', "/"));
        if !self.delivering.is_empty() {
            let _ = write!(line, " delivering={}", self.delivering);
        }
        if let Some(percent) = self.backfill {
            let _ = write!(line, " backfill={percent}%");
        }
        let _ = write!(line, " exported={} failed={}", self.exported, self.failed);
        if let Some(lag) = self.lag {
            let _ = write!(line, " lag={lag}s");
        }
        let _ = write!(line, " rate={:.0}/s", self.rate);
        line
    }
}

/// The whole board: a heading and a line per row, none wider than `width`.
pub fn draw(rows: &[Row], width: usize) -> Vec<String> {
    const HEADINGS: [&str; 8] = ["ACTIVATION", "READY", "DELIVERING", "BACKFILL", "EXPORTED", "FAILED", "LAG", "RATE"];
    let mut table: Vec<[String; 8]> = vec![HEADINGS.map(str::to_owned)];
    for row in rows {
        table.push([
            row.name.clone(),
            row.ready.clone(),
            if row.delivering.is_empty() { "-".to_owned() } else { row.delivering.clone() },
            row.backfill.map_or_else(|| "-".to_owned(), bar),
            row.exported.to_string(),
            row.failed.to_string(),
            row.lag.map_or_else(|| "-".to_owned(), |lag| format!("{lag}s")),
            format!("{:.0}/s", row.rate),
        ]);
    }
    let mut widths = [0; 8];
    for cells in &table {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    table
        .iter()
        .map(|cells| {
            let mut line = String::new();
            for (position, (cell, width)) in cells.iter().zip(widths).enumerate() {
                // Text to the left, numbers to the right.
                let _ = if position < 4 { write!(line, "{cell:<width$}  ") } else { write!(line, "{cell:>width$}  ") };
            }
            line.trim_end().chars().take(width).collect()
        })
        .collect()
}

fn bar(percent: u8) -> String {
    let filled = usize::from(percent.min(100)) * BAR / 100;
    format!("{}{} {percent:>3}%", "█".repeat(filled), "░".repeat(BAR - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row {
            name: name.to_owned(),
            ready: "True".to_owned(),
            delivering: "Flowing".to_owned(),
            backfill: Some(45),
            exported: 1234,
            failed: 0,
            lag: Some(2),
            rate: 99.6,
        }
    }

    #[test]
    fn a_row_is_one_line_with_a_bar() {
        let lines = draw(&[row("marketing/vip"), Row { backfill: None, lag: None, ..row("a/b") }], 200);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("████░░░░░░  45%") && lines[1].ends_with("100/s"), "{}", lines[1]);
        assert!(lines[2].contains("a/b") && !lines[2].contains('%'), "{}", lines[2]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for line in draw(&[row(&"n".repeat(300))], 80) {
            assert!(line.chars().count() <= 80);
        }
    }

    #[test]
    fn a_plain_line_holds_the_same() {
        assert_eq!(
            row("marketing/vip").line(),
            "marketing/vip ready=True delivering=Flowing backfill=45% exported=1234 failed=0 lag=2s rate=100/s"
        );
    }
}
