//! Figures, the bounds that they are held against, and how both are written down: a table to read, JSON for programs.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use crate::paths;

/// A bound on a figure or a ratio.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Bound::AtMost(limit) => figure <= limit,
            Bound::AtLeast(limit) => figure >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Bound::AtMost(limit) => format!("<= {}", figure(limit)),
            Bound::AtLeast(limit) => format!(">= {}", figure(limit)),
        }
    }
}

/// One measured thing.
pub struct Row {
    /// What was measured, for example `GET, pipeline 16: CPU`.
    pub what: String,
    /// Its unit.
    pub unit: &'static str,
    /// The yardstick's figure (redis-server), if it was measured.
    pub redis: Option<f64>,
    /// Our figure.
    pub ours: f64,
    /// A bound on our figure divided by the yardstick's.
    pub ratio_bound: Option<Bound>,
    /// A bound on our figure itself.
    pub bound: Option<Bound>,
}

impl Row {
    /// A row without bounds.
    pub fn new(what: impl Into<String>, unit: &'static str, redis: Option<f64>, ours: f64) -> Row {
        Row { what: what.into(), unit, redis, ours, ratio_bound: None, bound: None }
    }

    /// With a bound on the ratio.
    pub fn ratio(mut self, bound: Bound) -> Row {
        self.ratio_bound = Some(bound);
        self
    }

    /// With a bound on the figure.
    pub fn within(mut self, bound: Bound) -> Row {
        self.bound = Some(bound);
        self
    }

    fn ratio_value(&self) -> Option<f64> {
        self.redis.filter(|redis| *redis != 0.0).map(|redis| self.ours / redis)
    }

    /// `None` without a bound; else whether all hold.
    fn met(&self) -> Option<bool> {
        let by_ratio = match (self.ratio_bound, self.ratio_value()) {
            (Some(bound), Some(ratio)) => Some(bound.holds(ratio)),
            _ => None,
        };
        let by_figure = self.bound.map(|bound| bound.holds(self.ours));
        match (by_ratio, by_figure) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(true) && b.unwrap_or(true)),
        }
    }

    fn bound_text(&self) -> String {
        let ratio = self.ratio_bound.map(|bound| format!("ratio {}", bound.text()));
        let figure = self.bound.map(Bound::text);
        [ratio, figure].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// The rows of one measurement.
pub struct Report {
    name: String,
    /// How it was measured, in a sentence.
    about: String,
    rows: Vec<Row>,
}

impl Report {
    /// An empty report.
    pub fn new(name: &str, about: impl Into<String>) -> Report {
        Report { name: name.to_owned(), about: about.into(), rows: Vec::new() }
    }

    /// Adds a row and shows it.
    pub fn add(&mut self, row: Row) {
        println!("  {}", line(&row));
        self.rows.push(row);
    }

    /// (bounds that hold, bounds that do not).
    pub fn verdict(&self) -> (u64, u64) {
        let met = self.rows.iter().filter(|row| row.met() == Some(true)).count();
        let missed = self.rows.iter().filter(|row| row.met() == Some(false)).count();
        (met as u64, missed as u64)
    }

    /// Writes `target/bench/NAME.md` and `NAME.json`, and prints the table.
    pub fn write(&self) -> Result<()> {
        let dir = paths::target().join("bench");
        std::fs::create_dir_all(&dir)?;
        let table = self.table();
        println!("\n{table}");
        std::fs::write(dir.join(format!("{}.md", self.name)), &table)?;
        let text = serde_json::to_string_pretty(&self.json())?;
        std::fs::write(dir.join(format!("{}.json", self.name)), text)?;
        Ok(())
    }

    fn table(&self) -> String {
        let mut text = format!("### {}\n\n{}\n\n", self.name, self.about);
        text.push_str("| what | unit | redis-server | ours | ratio | bound | |\n|---|---|---|---|---|---|---|\n");
        for row in &self.rows {
            let redis = row.redis.map(figure).unwrap_or_else(|| "-".into());
            let ratio = row.ratio_value().map(figure).unwrap_or_else(|| "-".into());
            let verdict = match row.met() {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            let _ = writeln!(
                text,
                "| {} | {} | {redis} | {} | {ratio} | {} | {verdict} |",
                row.what,
                row.unit,
                figure(row.ours),
                row.bound_text()
            );
        }
        text
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "what": row.what, "unit": row.unit, "redis": row.redis, "ours": row.ours,
                    "ratio": row.ratio_value(), "bound": row.bound_text(), "met": row.met(),
                })
            })
            .collect();
        json!({ "name": self.name, "about": self.about, "rows": rows })
    }
}

fn line(row: &Row) -> String {
    let mut text = format!("{}: {} {}", row.what, figure(row.ours), row.unit);
    if let Some(redis) = row.redis {
        let _ = write!(text, " (redis {}", figure(redis));
        if let Some(ratio) = row.ratio_value() {
            let _ = write!(text, ", ratio {}", figure(ratio));
        }
        text.push(')');
    }
    match row.met() {
        Some(true) => text + &format!("  [{}: met]", row.bound_text()),
        Some(false) => text + &format!("  [{}: MISSED]", row.bound_text()),
        None => text,
    }
}

/// Three significant digits or so.
fn figure(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// The middle of several figures.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Report, Row, median};

    #[test]
    fn bounds_are_judged() {
        let row = |bound| Row::new("x", "us", Some(2.0), 1.0).ratio(bound);
        assert_eq!(row(Bound::AtMost(0.6)).met(), Some(true));
        assert_eq!(row(Bound::AtMost(0.4)).met(), Some(false));
        assert_eq!(row(Bound::AtLeast(1.5)).met(), Some(false));
        assert_eq!(Row::new("x", "us", None, 1.0).met(), None);
        let mut report = Report::new("x", "y");
        report.add(row(Bound::AtMost(0.6)).within(Bound::AtMost(0.5)));
        assert_eq!(report.verdict(), (0, 1));
        assert!(
            report
                .table()
                .contains("| x | us | 2.00 | 1.00 | 0.50 | ratio <= 0.60, <= 0.50 | MISSED |")
        );
    }

    #[test]
    fn middles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 3.0, 10.0]), 2.5);
    }
}
