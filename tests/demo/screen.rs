//! What the demo prints: short lines, aligned, coloured on a terminal only. Nothing is measured or checked here.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The standard output.
pub struct Screen {
    colour: bool,
}

const WHAT: usize = 46;
const ANSWER: usize = 13;
const CELL: usize = 15;

impl Screen {
    pub fn new() -> Self {
        Self {
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    pub fn title(&self, text: &str) {
        println!("\n{}", self.paint("1", text));
    }

    pub fn line(&self, text: &str) {
        println!("  {text}");
    }

    /// What a command printed.
    pub fn text(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("{}", format!("  {line}").trim_end());
        }
    }

    /// A command as an admin would type it.
    pub fn command(&self, text: &str) {
        println!("  {}", self.paint("2", &format!("$ {text}")));
    }

    /// Says what is going on, does it, and says how long it took.
    pub async fn step<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        print!("  {what:<WHAT$}");
        let _ = std::io::stdout().flush();
        let begun = Instant::now();
        let done = work.await;
        println!("{:>6.1} s", begun.elapsed().as_secs_f64());
        done
    }

    pub fn head(&self, columns: &[&str]) {
        let cells: String = columns.iter().map(|c| format!("{c:<CELL$}")).collect();
        println!(
            "\n  {}",
            self.paint("1", format!("{:<WHAT$}{:<ANSWER$}{cells}", "what happens", "answer").trim_end())
        );
    }

    /// One row: what happened, the answer, and who may do what; with the time that it took where it changed.
    pub fn row(&self, what: &str, answer: Option<(u16, Duration)>, cells: &[(bool, Option<Duration>)]) {
        let answer = answer
            .map(|(status, took)| format!("{status} {}", millis(took)))
            .unwrap_or_default();
        let mut line = format!("  {what:<WHAT$}{answer:<ANSWER$}");
        for (n, (allowed, changed)) in cells.iter().enumerate() {
            let word = if *allowed { "yes" } else { "no" };
            let text = changed.map_or_else(|| word.to_owned(), |after| format!("{word:<4}{}", millis(after)));
            let padding = if n + 1 == cells.len() { 0 } else { CELL - text.len().min(CELL) };
            let code = match (allowed, changed.is_some()) {
                (true, true) => "1;32",
                (true, false) => "32",
                (false, true) => "1;31",
                (false, false) => "31",
            };
            line.push_str(&self.paint(code, &text));
            line.push_str(&" ".repeat(padding));
        }
        println!("{}", line.trim_end());
    }
}

/// A duration in milliseconds, for people.
pub fn millis(duration: Duration) -> String {
    format!("{:>5.1} ms", duration.as_secs_f64() * 1000.0)
}
