//! What `make e2e` says: each step with its time, each check, the load and the pods' needs; at the end how many checks hold. Nothing is judged here.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::load::Promised;
use crate::node::Usage;

/// Everything said so far.
pub struct Report {
    begun: Instant,
    held: usize,
    broken: Vec<String>,
}

impl Report {
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            held: 0,
            broken: Vec::new(),
        }
    }

    /// A step that ends the run if it fails; how long it took.
    pub async fn step<T>(&mut self, what: &str, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        self.took(what, begun.elapsed());
        done
    }

    /// Something that took so long, as it should.
    pub fn took(&mut self, what: &str, time: Duration) {
        self.check(&format!("{what} ({:.1} s)", time.as_secs_f64()), true);
    }

    /// Something that has to be so.
    pub fn check(&mut self, what: &str, so: bool) {
        println!(
            "{:6.1}  {}  {what}",
            self.begun.elapsed().as_secs_f64(),
            if so { "ok    " } else { "FAILED" }
        );
        match so {
            true => self.held += 1,
            false => self.broken.push(what.to_owned()),
        }
    }

    /// Something of which there may be none; the first few are shown.
    pub fn list(&mut self, what: &str, found: &[String]) {
        self.check(&format!("{what}: {}", found.len()), found.is_empty());
        for one in found.iter().take(10) {
            println!("          {one}");
        }
    }

    /// What the provider saw.
    pub fn load(&mut self, promised: &Promised) {
        let mut times: Vec<f64> = promised.times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let part = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied();
        println!(
            "          {} requests acknowledged, {} failed and were sent again ({}); p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms",
            times.len(),
            promised.failures.values().sum::<usize>(),
            promised
                .failures
                .iter()
                .map(|(why, n)| format!("{n} {why}"))
                .collect::<Vec<_>>()
                .join(", "),
            part(50).unwrap_or_default(),
            part(99).unwrap_or_default(),
            part(100).unwrap_or_default(),
        );
    }

    /// What the pods need.
    pub fn usage(&mut self, pods: &[Usage]) {
        for pod in pods {
            println!(
                "          {:50} {:6.1} millicores {:6.1} MiB",
                pod.pod, pod.millicores, pod.mebibytes
            );
        }
    }

    /// The sum of it.
    pub fn end(self) -> ExitCode {
        let all = self.held + self.broken.len();
        println!(
            "{} of {all} checks hold, after {:.0} s",
            self.held,
            self.begun.elapsed().as_secs_f64()
        );
        for what in &self.broken {
            println!("FAILED: {what}");
        }
        match self.broken.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}
