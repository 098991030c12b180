//! Rows: what was measured, its floor, its goal; the table and the files of them. Nothing is measured here, but the machine.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::root;

/// One figure.
pub struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    floor: Option<f64>,
    goal: Option<Goal>,
    waived: Option<&'static str>,
}

/// What a figure has to reach. The ratio is the value divided by its floor.
#[derive(Clone, Copy)]
pub enum Goal {
    /// A ratio of at most so much.
    RatioAtMost(f64),
    /// A ratio of at least so much.
    RatioAtLeast(f64),
    /// A value below this.
    Below(f64),
}

impl Row {
    /// A figure by itself.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            floor: None,
            goal: None,
            waived: None,
        }
    }

    /// What a bare client got, in the same unit and the same run.
    pub fn floor(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    /// What it has to reach.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Why the goal is not met, where that is known; it is told only when it is not met.
    pub fn waived(mut self, why: &'static str) -> Self {
        self.waived = Some(why);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| self.value / floor)
    }

    fn met(&self) -> Option<bool> {
        let ratio = self.ratio().unwrap_or(f64::NAN); // a goal of a ratio without a floor is never met
        self.goal.map(|goal| match goal {
            Goal::RatioAtMost(most) => ratio <= most,
            Goal::RatioAtLeast(least) => ratio >= least,
            Goal::Below(limit) => self.value < limit,
        })
    }

    fn why(&self) -> Option<&'static str> {
        self.waived.filter(|_| self.met() == Some(false))
    }

    fn goal_text(&self) -> Option<String> {
        self.goal.map(|goal| match goal {
            Goal::RatioAtMost(most) => format!("ratio <= {most}"),
            Goal::RatioAtLeast(least) => format!("ratio >= {least}"),
            Goal::Below(limit) => format!("< {limit} {}", self.unit),
        })
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "value": rounded(self.value), "unit": self.unit, "floor": self.floor.map(rounded),
            "ratio": self.ratio().map(rounded), "goal": self.goal_text(), "met": self.met(), "waived": self.why(),
        })
    }
}

/// Three digits after the point, for the files.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A number as people read it: three digits that count, or whole thousands with commas.
fn shown(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Where all of it goes.
pub struct Report {
    folder: PathBuf,
}

impl Report {
    /// Says on what machine this runs.
    pub fn begin() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split(": ").nth(1));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let loads = read("/proc/loadavg");
        let load = loads.split(' ').next().unwrap_or("?");
        let disk = match std::env::var("FSYNC").is_ok_and(|v| !v.is_empty()) {
            true => "waits for the disk",
            false => "does not wait for the disk (FSYNC=1: it does)",
        };
        println!(
            "{cores} cores ({}), shared by etcd, the API server and what is measured; load {load} before; etcd {disk}.",
            model.unwrap_or("?").trim()
        );
        let folder = root().join("target/bench");
        fs::create_dir_all(&folder).expect("target/bench");
        println!(
            "\n{:<68} {:>10} {:<10} {:>10} {:>6}  {:<13}",
            "", "value", "", "floor", "ratio", "goal"
        );
        Self { folder }
    }

    /// Prints rows, and writes them to a file of their own.
    pub fn write(&self, name: &str, rows: Vec<Row>) {
        println!("{name}");
        for row in &rows {
            let verdict = match (row.met(), row.why()) {
                (None, _) => "",
                (Some(true), _) => "met",
                (Some(false), Some(_)) => "MISSED, see below",
                (Some(false), None) => "MISSED",
            };
            println!(
                "  {:<66} {:>10} {:<10} {:>10} {:>6}  {:<13} {verdict}",
                row.name,
                shown(row.value),
                row.unit,
                row.floor.map(shown).unwrap_or_default(),
                row.ratio().map(|r| format!("{r:.2}")).unwrap_or_default(),
                row.goal_text().unwrap_or_default(),
            );
        }
        for row in &rows {
            if let Some(why) = row.why() {
                println!("  {}: {why}", row.name);
            }
        }
        let json: Vec<Value> = rows.iter().map(Row::json).collect();
        let text = serde_json::to_string_pretty(&json).expect("JSON");
        fs::write(self.folder.join(format!("{name}.json")), text + "\n").expect("target/bench");
    }

    /// Says how long it took.
    pub fn end(&self, took: Duration) {
        println!(
            "\n{:.0} s. A ratio is value / floor, both of this run. Rows: {}/*.json",
            took.as_secs_f64(),
            self.folder.display()
        );
    }
}

/// What so many of a hundred stay below; the values need not be sorted.
pub fn percentile(values: &[Duration], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).map_or(f64::NAN, |value| value.as_secs_f64() * 1000.0)
}
